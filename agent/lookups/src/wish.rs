//! How people write down a template: `in:out:command`, as consul-template takes it.
//!
//! `app.conf.tera:/etc/app.conf:systemctl reload app`. Without a command nothing is run for it; without `out`, or with a folder, the file has
//! the name of the template without its ending, beside it or in that folder. What begins with `_` is there to be included by others.
//!
//! Or in a file, which has room for more:
//!
//! ```yaml
//! templates:
//! - {in: app.conf.tera, out: /etc/app.conf, command: systemctl reload app, mode: "0640", backup: true}
//! - {in: app.key.tera, out: /etc/app.key, secret: true}
//! values: {app: {port: 80}}
//! check: ["app --check-config {app.conf}"]
//! reload: []
//! ```

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    str::FromStr,
};

use helium_templates::template::{Form, Language, Template};
use serde::Deserialize;
use serde_json::{Map, Value};

/// A template that somebody wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// The file of the template.
    pub source: PathBuf,
    /// The file, or folder, that is wanted.
    pub target: Option<PathBuf>,
    /// What is run when the file has changed.
    pub command: Option<String>,
    /// How the file shall be, if it is said for this one.
    pub form: Option<Form>,
}

/// What a file of wishes says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wishes {
    /// The templates.
    pub templates: Vec<Wish>,
    /// Values for all of them.
    pub values: Map<String, Value>,
    /// Lines that look at new files.
    pub check: Vec<String>,
    /// Lines that are run when any file has changed.
    pub reload: Vec<String>,
}

/// A file of wishes as it is written.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Written {
    #[serde(default)]
    templates: Vec<WrittenWish>,
    #[serde(default)]
    values: Map<String, Value>,
    #[serde(default)]
    check: Vec<String>,
    #[serde(default)]
    reload: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WrittenWish {
    r#in: PathBuf,
    out: Option<PathBuf>,
    command: Option<String>,
    mode: Option<String>,
    #[serde(default)]
    backup: bool,
    #[serde(default)]
    secret: bool,
}

/// Why a wish is none.
#[derive(Debug, thiserror::Error)]
pub enum WishError {
    /// There is no template in it.
    #[error("`{0}` names no template: write `in:out` or `in:out:command`")]
    Empty(String),
    /// The file is in no language that is known.
    #[error("{}: its ending says no template language: name it `.tera` or `.mustache`", .0.display())]
    Language(PathBuf),
    /// It cannot be read.
    #[error("{}: cannot read the template: {source}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file of wishes is none.
    #[error("{}: {why}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        why: String,
    },
    /// The file would be written over its own template.
    #[error("{}: the template would make itself: name another file", .0.display())]
    Itself(PathBuf),
}

impl FromStr for Wish {
    type Err = WishError;

    fn from_str(text: &str) -> Result<Self, WishError> {
        let mut parts = text.splitn(3, ':');
        let mut part = || parts.next().map(str::trim).filter(|part| !part.is_empty());
        let source = part().map(PathBuf::from).ok_or_else(|| WishError::Empty(text.to_owned()))?;
        Ok(Self { source, target: part().map(PathBuf::from), command: part().map(str::to_owned), form: None })
    }
}

impl Wish {
    /// Reads the template.
    pub fn read(&self, form: &Form) -> Result<Template, WishError> {
        let language = Language::of(&self.source).ok_or_else(|| WishError::Language(self.source.clone()))?;
        let read = |source| WishError::Read { path: self.source.clone(), source };
        let text = fs::read_to_string(&self.source).map_err(read)?;
        let target = std::path::absolute(self.target_of(&self.source)).map_err(read)?;
        if target == std::path::absolute(&self.source).map_err(read)? {
            return Err(WishError::Itself(self.source.clone()));
        }
        Ok(Template {
            name: self.source.clone(),
            text,
            language,
            target,
            form: self.form.as_ref().unwrap_or(form).clone(),
        })
    }

    fn target_of(&self, source: &Path) -> PathBuf {
        let name = source.file_stem().unwrap_or_default();
        match &self.target {
            None => source.with_file_name(name),
            Some(target) if target.is_dir() || target.to_string_lossy().ends_with('/') => target.join(name),
            Some(target) => target.clone(),
        }
    }
}

/// Permission bits as people write them: `0640`.
///
/// # Errors
/// What would be right.
pub fn mode(text: &str) -> Result<u32, String> {
    let bits = u32::from_str_radix(text, 8).ok().filter(|bits| *bits <= 0o7777);
    bits.ok_or_else(|| format!("`{text}` are no permission bits: write them as in `0640`"))
}

impl Wishes {
    /// Reads a file of wishes. Its paths are as seen from its folder.
    pub fn read(path: &Path) -> Result<Self, WishError> {
        let text = fs::read_to_string(path).map_err(|source| WishError::Read { path: path.to_owned(), source })?;
        Self::of(&text, path.parent().unwrap_or(Path::new("")))
            .map_err(|why| WishError::File { path: path.to_owned(), why })
    }

    fn of(text: &str, folder: &Path) -> Result<Self, String> {
        let written: Written = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
        let wish = |wish: WrittenWish| {
            let mode = wish.mode.as_deref().map(mode).transpose()?;
            let form = Form { mode, owner: None, secret: wish.secret, backup: wish.backup };
            let (source, target) = (folder.join(wish.r#in), wish.out.map(|out| folder.join(out)));
            Ok(Wish { source, target, command: wish.command, form: Some(form) })
        };
        let templates = written.templates.into_iter().map(wish).collect::<Result<_, String>>()?;
        Ok(Self { templates, values: written.values, check: written.check, reload: written.reload })
    }
}

/// The templates that are wanted, and the commands by the files they are for.
pub fn read(wishes: &[Wish], form: &Form) -> Result<(Vec<Template>, BTreeMap<PathBuf, String>), WishError> {
    let mut templates = Vec::new();
    let mut commands = BTreeMap::new();
    for wish in wishes {
        let template = wish.read(form)?;
        if let Some(command) = &wish.command {
            commands.insert(template.target.clone(), command.clone());
        }
        templates.push(template);
    }
    Ok((templates, commands))
}

/// Where the state of a set is kept unless it is said: in a hidden folder beside the first file that it makes, named after that. None if it
/// makes none.
pub fn state_beside(templates: &[Template]) -> Option<PathBuf> {
    let first = templates.iter().find(|template| !template.is_part())?;
    let name = first.target.file_name()?.to_string_lossy();
    Some(first.target.with_file_name(format!(".{name}.helium-state")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(text: &str) -> (String, Option<String>, Option<String>) {
        let Wish { source, target, command, .. } = text.parse().unwrap();
        (source.display().to_string(), target.map(|target| target.display().to_string()), command)
    }

    #[test]
    fn a_wish_is_a_template_a_file_and_a_command_that_may_hold_colons() {
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(wish("a.tera"), ("a.tera".into(), None, None));
        assert_eq!(wish("a.tera:/etc/a"), ("a.tera".into(), some("/etc/a"), None));
        assert_eq!(wish("a.tera:/etc/a:curl http://b:1/"), ("a.tera".into(), some("/etc/a"), some("curl http://b:1/")));
        assert_eq!(wish("a.tera::true"), ("a.tera".into(), None, some("true")));
        assert!(":x".parse::<Wish>().is_err());
    }

    #[test]
    fn the_file_is_named_by_its_template_unless_it_has_a_name() {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("a.conf.tera");
        fs::write(&source, "x").unwrap();
        let target = |target: &str| {
            let wish: Wish = format!("{}:{target}", source.display()).parse().unwrap();
            wish.read(&Form::default()).map(|template| template.target).map_err(|error| error.to_string())
        };
        assert_eq!(target(""), Ok(folder.path().join("a.conf")));
        assert_eq!(target("/etc/x/"), Ok("/etc/x/a.conf".into()));
        assert_eq!(target("/etc/b"), Ok("/etc/b".into()));
        assert!(target(&source.display().to_string()).unwrap_err().contains("would make itself"));
        let other: Wish = "a.ctmpl:b".parse().unwrap();
        assert!(other.read(&Form::default()).unwrap_err().to_string().contains("`.tera` or `.mustache`"));
    }

    #[test]
    fn a_file_of_wishes_has_room_for_more_and_its_paths_are_seen_from_its_folder() {
        let text = "templates:\n- {in: a.tera, out: /etc/a, command: 'x: y', mode: \"0640\", backup: true}\n- {in: b.tera, \
                    secret: true}\nvalues: {port: 80}\ncheck: [test]\n";
        let wishes = Wishes::of(text, Path::new("/conf")).unwrap();
        let [a, b] = &wishes.templates[..] else { panic!("{wishes:?}") };
        assert_eq!((a.source.as_path(), a.target.as_deref()), (Path::new("/conf/a.tera"), Some(Path::new("/etc/a"))));
        assert_eq!(a.form, Some(Form { mode: Some(0o640), backup: true, ..Form::default() }));
        assert!(b.form.as_ref().is_some_and(|form| form.secret) && b.target.is_none());
        assert_eq!((wishes.values["port"].clone(), wishes.check.len()), (Value::from(80), 1));
    }

    #[test]
    fn a_file_of_wishes_that_is_wrong_says_where() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("render.yaml");
        let words = |text: &str| {
            fs::write(&path, text).unwrap();
            Wishes::read(&path).unwrap_err().to_string()
        };
        let unknown = words("templates:\n- {in: a.tera, owt: b}\n");
        assert!(unknown.contains("render.yaml") && unknown.contains("owt") && unknown.contains('2'), "{unknown}");
        assert!(words("templates: [{in: a.tera, mode: '9'}]").contains("0640"));
    }
}
