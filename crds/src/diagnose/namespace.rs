//! The namespace that a command line gives to objects that name none.

use crate::{
    Kind,
    schema::{ShapeKind, shape},
};

/// Takes a text as a namespace, by the pattern that the schema has for `metadata.namespace`.
///
/// # Errors
/// What is allowed, in words.
pub fn namespace(text: &str) -> Result<String, String> {
    let object = shape(Kind::Deployment);
    let pattern = ["metadata", "namespace"].iter().try_fold(object, |shape, name| match &shape.kind {
        ShapeKind::Object(object) => object.field(name).map(|field| &field.shape),
        _ => None,
    });
    match pattern.map(|shape| &shape.kind) {
        Some(ShapeKind::Text { pattern: Some(pattern), .. }) if !pattern.fits(text) => Err(pattern.allowed.clone()),
        _ => Ok(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_is_what_the_schema_says() {
        let longest = "a".repeat(63);
        for sound in ["default", "team-1", "0", &longest] {
            assert_eq!(namespace(sound).as_deref(), Ok(sound));
        }
        let allowed = Err("at most 63 of `a-z`, `0-9` and `-`, with a letter or digit at both ends".to_owned());
        for wrong in ["", "a/b", "Team", "team_a", "-a", "a-", &format!("{longest}a")] {
            assert_eq!(namespace(wrong), allowed, "{wrong:?}");
        }
    }
}
