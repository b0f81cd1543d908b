//! Checks in Consul's own format, as files of a package hold them.
//!
//! A file holds one check, `{"check": {...}}` or `{"checks": [...]}`; names may be written as Consul's files (`success_before_passing`) or its API
//! (`SuccessBeforePassing`) have them. What only a check of a node could mean (`serviceid` and `id` of another service) is not taken over: every check
//! here is one of its instance.

use std::{collections::BTreeMap, fs, io, path::Path, time::Duration};

use jiff::SignedDuration;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{CheckKind, PackageCheck};
use crate::hooks::Hook;

/// Where checks are in a package; the first folder that is there counts.
const FOLDERS: [&str; 2] = ["helium/checks", "helios/checks"];
/// How often a check runs that does not say it.
const USUAL_INTERVAL: Duration = Duration::from_secs(10);
/// How long a run may take of a check that does not say it.
const USUAL_TIMEOUT: Duration = Duration::from_secs(5);

/// The checks of a package, as its view shows them, by their names. `taken` are the names of the template's own checks.
///
/// # Errors
/// What is wrong, with the file and the field.
pub(crate) fn read(view: &Path, taken: &[String]) -> Result<Vec<PackageCheck>, String> {
    let mut checks: BTreeMap<String, PackageCheck> = BTreeMap::new();
    for folder in FOLDERS.map(|folder| view.join(folder)) {
        let mut files = json_files(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        files.sort();
        let found = !files.is_empty();
        for file in files {
            let shown = file.strip_prefix(view).unwrap_or(&file).display().to_string();
            let text = fs::read_to_string(&file).map_err(|error| format!("{shown}: {error}"))?;
            for check in of_text(&text, &stem(&file)).map_err(|error| format!("{shown}: {error}"))? {
                let name = check.name.clone();
                if taken.contains(&name) || checks.insert(name.clone(), check).is_some() {
                    return Err(format!(
                        "{shown}: there is another check of the name `{name}`: give it an `id` of its own"
                    ));
                }
            }
        }
        if found {
            break;
        }
    }
    Ok(checks.into_values().collect())
}

/// The hook `health` as a check.
pub(crate) fn of_health(limit: Duration) -> PackageCheck {
    PackageCheck {
        name: Hook::Health.name().to_owned(),
        kind: CheckKind::Health,
        interval: USUAL_INTERVAL,
        timeout: limit,
        success_before_passing: 0,
        failures_before_critical: 0,
        notes: String::new(),
    }
}

fn json_files(folder: &Path) -> io::Result<Vec<std::path::PathBuf>> {
    match fs::read_dir(folder) {
        Ok(entries) => {
            let paths: io::Result<Vec<_>> = entries.map(|entry| Ok(entry?.path())).collect();
            Ok(paths?.into_iter().filter(|path| path.extension().is_some_and(|ending| ending == "json")).collect())
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn stem(file: &Path) -> String {
    file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default().to_owned()
}

/// A check as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Written {
    id: String,
    checkid: String,
    name: String,
    notes: String,
    script: String,
    args: Vec<String>,
    scriptargs: Vec<String>,
    http: String,
    method: String,
    header: BTreeMap<String, Vec<String>>,
    tlsskipverify: bool,
    tcp: String,
    ttl: String,
    interval: String,
    timeout: String,
    successbeforepassing: u64,
    failuresbeforecritical: u64,
}

fn of_text(text: &str, stem: &str) -> Result<Vec<PackageCheck>, String> {
    let whole: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let Value::Object(fields) = &whole else { return Err("a check is a mapping: {\"name\": ...}".to_owned()) };
    let written: Vec<&Value> = match (fields.get("check"), fields.get("checks")) {
        (Some(one), None) => vec![one],
        (None, Some(Value::Array(many))) => many.iter().collect(),
        (None, None) => vec![&whole],
        _ => return Err("it holds `check` or a list of `checks`".to_owned()),
    };
    let single = written.len() == 1;
    let check = |(index, value): (usize, &Value)| {
        let at = |error: String| if single { error } else { format!("checks[{index}]: {error}") };
        let Value::Object(fields) = value else { return Err(at("a check is a mapping".to_owned())) };
        let written: Written = serde_json::from_value(plain(fields)).map_err(|error| at(error.to_string()))?;
        written.checked(stem).map_err(at)
    };
    written.into_iter().enumerate().map(check).collect()
}

/// Names in one way of writing: `success_before_passing` and `SuccessBeforePassing` are `successbeforepassing`. Headers keep theirs.
fn plain(fields: &Map<String, Value>) -> Value {
    let plain = |name: &String| name.replace('_', "").to_lowercase();
    fields.iter().map(|(name, value)| (plain(name), value.clone())).collect()
}

impl Written {
    fn checked(self, stem: &str) -> Result<PackageCheck, String> {
        let named = [&self.id, &self.checkid, &self.name].into_iter().find(|name| !name.is_empty());
        let name = slug(named.map_or(stem, String::as_str));
        if name.is_empty() {
            return Err("`name` holds neither a letter nor a digit".to_owned());
        }
        let args = if self.args.is_empty() { self.scriptargs } else { self.args };
        let header = self.header;
        let http = |url| CheckKind::Http { url, method: self.method, header, tls_skip_verify: self.tlsskipverify };
        let shell = |script| CheckKind::Script(vec!["/bin/sh".to_owned(), "-c".to_owned(), script]);
        let ttl = duration("ttl", &self.ttl)?;
        let mut kinds = Vec::new();
        kinds.extend((!self.script.is_empty()).then(|| shell(self.script)));
        kinds.extend((!args.is_empty()).then_some(CheckKind::Script(args)));
        kinds.extend((!self.http.is_empty()).then(|| http(self.http)));
        kinds.extend((!self.tcp.is_empty()).then_some(CheckKind::Tcp(self.tcp)));
        kinds.extend(ttl.map(CheckKind::Ttl));
        let what = "exactly one of `script`, `args`, `http`, `tcp` and `ttl` says what it does";
        let (Some(kind), true) = (kinds.pop(), kinds.is_empty()) else { return Err(what.to_owned()) };
        Ok(PackageCheck {
            name,
            kind,
            interval: duration("interval", &self.interval)?.unwrap_or(USUAL_INTERVAL),
            timeout: duration("timeout", &self.timeout)?.unwrap_or(USUAL_TIMEOUT),
            success_before_passing: self.successbeforepassing,
            failures_before_critical: self.failuresbeforecritical,
            notes: self.notes,
        })
    }
}

/// A name as ids may have it: `HTTP on port 80` is `http-on-port-80`.
fn slug(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c.to_ascii_lowercase() } else { '-' };
    let text: String = name.chars().map(plain).collect();
    let parts: Vec<&str> = text.split('-').filter(|part| !part.is_empty()).collect();
    parts.join("-").chars().take(63).collect()
}

/// A length of time as Consul writes it, `10s` or `1m30s`; none for an empty text.
fn duration(field: &str, text: &str) -> Result<Option<Duration>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let parsed = text.parse::<SignedDuration>().ok().and_then(|parsed| Duration::try_from(parsed).ok());
    match parsed.filter(|parsed| !parsed.is_zero()) {
        Some(parsed) => Ok(Some(parsed)),
        None => Err(format!("`{field}: {text}` is no length of time such as `10s`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Result<PackageCheck, String> {
        of_text(text, "file").map(|checks| checks[0].clone())
    }

    #[test]
    fn both_ways_of_writing_a_check_say_the_same() {
        let file = r#"{"check": {"id": "Web 80", "http": "http://h/", "interval": "1m30s", "success_before_passing": 2, "tls_skip_verify": true}}"#;
        let api = r#"{"ID": "web-80", "HTTP": "http://h/", "Interval": "90s", "SuccessBeforePassing": 2, "TLSSkipVerify": true}"#;
        assert_eq!(one(file), one(api));
        assert_eq!(one(file).unwrap().interval, Duration::from_secs(90));
    }

    #[test]
    fn a_check_of_helios_is_a_script_under_its_own_name() {
        let check =
            one(r#"{"name": "disk", "serviceid": "web", "script": "df / | grep -q 1", "interval": "5s"}"#).unwrap();
        assert_eq!(check.name, "disk");
        assert_eq!(check.kind, CheckKind::Script(["/bin/sh", "-c", "df / | grep -q 1"].map(str::to_owned).to_vec()));
        assert_eq!(one(r#"{"args": ["true"]}"#).unwrap().name, "file");
    }

    #[test]
    fn what_is_no_check_is_told_with_its_field() {
        for (text, words) in [
            (r#"{"name": "a"}"#, "exactly one of"),
            (r#"{"name": "a", "http": "x", "tcp": "y"}"#, "exactly one of"),
            (r#"{"name": "a", "tcp": "y", "interval": "soon"}"#, "`interval: soon` is no length of time"),
            (r#"{"checks": [{"tcp": "a"}, {"ttl": 5}]}"#, "checks[1]: invalid type"),
            (r#"{"name": "---", "tcp": "a"}"#, "neither a letter nor a digit"),
            ("[1]", "a mapping"),
            ("{", "EOF"),
        ] {
            let error = one(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    #[test]
    fn two_checks_of_one_name_are_refused_with_the_file() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("helium/checks")).unwrap();
        fs::write(folder.path().join("helium/checks/a.json"), r#"{"tcp": "h:1"}"#).unwrap();
        assert_eq!(read(folder.path(), &[]).unwrap().len(), 1);
        let error = read(folder.path(), &["a".to_owned()]).unwrap_err();
        assert_eq!(error, "helium/checks/a.json: there is another check of the name `a`: give it an `id` of its own");
    }
}
