//! Who asks which host: the netrc file, as curl, wget and nix read it.

use std::{fmt, fs, io, path::Path};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::HeaderValue;

/// The logins of a netrc file; none by default.
#[derive(Clone, Default)]
pub struct Netrc(Vec<Login>);

#[derive(Clone, Default)]
struct Login {
    /// None is the `default`, for all other hosts.
    machine: Option<String>,
    user: String,
    password: String,
}

impl Netrc {
    /// Reads a file; one that is not there has no logins.
    pub fn load(path: &Path) -> io::Result<Self> {
        match fs::read_to_string(path) {
            Ok(text) => Ok(Self::read(&text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }

    /// Reads the text of one. Words that are not known are passed over, as everybody does.
    pub fn read(text: &str) -> Self {
        let mut logins: Vec<Login> = Vec::new();
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            let mut words = line.split_whitespace().take_while(|word| !word.starts_with('#'));
            let mut macro_follows = false;
            while let Some(word) = words.next() {
                match word {
                    "machine" => {
                        logins.push(Login { machine: words.next().map(str::to_lowercase), ..Login::default() });
                    }
                    "default" => logins.push(Login::default()),
                    "macdef" => macro_follows = true,
                    "login" | "password" => set(&mut logins, word, words.next()),
                    _ => {}
                }
            }
            if macro_follows {
                // A macro goes to the next empty line.
                lines.by_ref().take_while(|line| !line.trim().is_empty()).for_each(drop);
            }
        }
        Self(logins)
    }

    /// The header for a host; none if nobody is named for it.
    pub(super) fn authorization(&self, host: &str) -> Option<HeaderValue> {
        let host = host.to_lowercase();
        let named = self.0.iter().find(|login| login.machine.as_ref() == Some(&host));
        let login = named.or_else(|| self.0.iter().find(|login| login.machine.is_none()))?;
        let pair = STANDARD.encode(format!("{}:{}", login.user, login.password));
        let mut value = HeaderValue::from_str(&format!("Basic {pair}")).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

/// The words of a machine may stand on lines of their own.
fn set(logins: &mut [Login], word: &str, value: Option<&str>) {
    if let (Some(last), Some(value)) = (logins.last_mut(), value) {
        let field = if word == "login" { &mut last.user } else { &mut last.password };
        value.clone_into(field);
    }
}

impl fmt::Debug for Netrc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Netrc({} logins)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# ours\nmachine A.example login me password s3cret\nmacdef init\nmachine no login no\n\n\
                        machine b.example\n  login you\n  password word account x\ndefault login any password one\n";

    #[test]
    fn each_host_has_its_login() {
        let netrc = Netrc::read(FILE);
        let told = |host: &str| netrc.authorization(host).map(|value| value.to_str().unwrap().to_owned());
        let basic = |pair: &str| Some(format!("Basic {}", STANDARD.encode(pair)));
        assert_eq!(told("a.example"), basic("me:s3cret"));
        assert_eq!(told("B.example"), basic("you:word"));
        assert_eq!(told("no"), basic("any:one"), "what a macro says is no login");
        assert_eq!(Netrc::read("machine x login y password z").authorization("other"), None);
        assert!(!format!("{netrc:?} {:?}", netrc.authorization("a.example")).contains("s3cret"));
    }
}
