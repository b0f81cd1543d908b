//! The address of a job, and what can be asked about it.

use http::Uri;

use crate::Error;

/// The address of a job: `https://hydra.example/job/PROJECT/JOBSET/JOB`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Without a slash at its end.
    address: String,
    /// What comes before `/job/`, then project, jobset and job.
    parts: Option<[String; 4]>,
}

impl Job {
    /// Reads an address.
    ///
    /// # Errors
    /// It is none of `http` or `https`, or names a user, a query or a fragment.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let wrong = |reason: &str| Error::Address { text: hide(text), reason: reason.to_owned() };
        let address = text.trim_end_matches('/');
        let uri: Uri = address.parse().map_err(|_| wrong("it is no address"))?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err(wrong("it begins with neither `https://` nor `http://`"));
        }
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err(wrong("it names a user: logins belong into the netrc file"));
        }
        if address.contains(['?', '#']) {
            return Err(wrong("it has a query or a fragment"));
        }
        let parts = address.rsplit_once("/job/").and_then(|(hydra, rest)| match *rest.split('/').collect::<Vec<_>>() {
            [project, jobset, job] if ![project, jobset, job].contains(&"") => {
                Some([hydra, project, jobset, job].map(str::to_owned))
            }
            _ => None,
        });
        Ok(Self { address: address.to_owned(), parts })
    }

    /// As it is told.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The name of the job, if the address tells it.
    pub fn name(&self) -> Option<&str> {
        self.parts.as_ref().map(|[_, _, _, job]| job.as_str())
    }

    /// Where the latest build that has succeeded is told.
    pub fn latest(&self) -> String {
        format!("{}/latest", self.address)
    }

    /// Where the latest finished evaluation of the jobset is told, if the address tells the jobset.
    pub fn latest_evaluation(&self) -> Option<String> {
        self.parts.as_ref().map(|[hydra, project, jobset, _]| format!("{hydra}/jobset/{project}/{jobset}/latest-eval"))
    }

    /// Where one build is told, if the address tells where Hydra is.
    pub fn build(&self, build: u64) -> Option<String> {
        self.parts.as_ref().map(|[hydra, ..]| format!("{hydra}/build/{build}"))
    }

    /// Where one evaluation is told, likewise.
    pub fn evaluation(&self, evaluation: u64) -> Option<String> {
        self.parts.as_ref().map(|[hydra, ..]| format!("{hydra}/eval/{evaluation}"))
    }

    /// Where all builds of an evaluation are told, likewise.
    pub fn builds(&self, evaluation: u64) -> Option<String> {
        self.parts.as_ref().map(|[hydra, ..]| format!("{hydra}/eval/{evaluation}/builds"))
    }
}

/// A name and password that were written into the address are not told.
fn hide(text: &str) -> String {
    match (text.find("://"), text.rfind('@')) {
        (Some(start), Some(end)) if start < end => format!("{}://...{}", &text[..start], &text[end..]),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_is_none_is_told_without_its_password() {
        let words = |text: &str| Job::parse(text).unwrap_err().to_string();
        assert_eq!(words("hydra"), "the job `hydra`: it begins with neither `https://` nor `http://`");
        assert!(words("https://h/job/a/b/c?x").contains("a query"));
        let told = words("https://me:secret@h/job/a/b/c");
        assert!(told.contains("netrc") && !told.contains("secret"), "{told}");
    }

    #[test]
    fn the_jobset_is_told_by_the_address_whatever_stands_before_it() {
        let parts = |text: &str| Job::parse(text).unwrap().parts;
        assert_eq!(
            parts("https://h/hydra/job/p/j/a.b/"),
            Some(["https://h/hydra", "p", "j", "a.b"].map(str::to_owned))
        );
        assert_eq!(parts("https://h/job/p/j"), None);
        assert_eq!(parts("https://h/job/p//j"), None);
    }
}
