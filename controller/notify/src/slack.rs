//! The form that Slack's incoming webhooks take: a line of text, and an attachment of blocks under a colour.
//!
//! The line is what a telephone shows. It is in Slack's `mrkdwn`, in which `&`, `<` and `>` are escaped: what people wrote into a reason cannot
//! mention a channel.

use helium_crds::{Kind, event::Severity};
use serde_json::{Value, json};

use crate::news::News;

/// The longest text that is made, in bytes: Slack takes 3000 characters in a section.
const LONGEST: usize = 2900;

/// A message about an event.
pub(crate) fn message(news: &News) -> Value {
    let (mark, colour) = match news.severity {
        Severity::Normal => ("", "#2eb886"),
        Severity::Warning => (":warning: ", "#daa038"),
    };
    let (reason, namespace, name) = (escaped(&news.reason), escaped(&news.namespace), escaped(&news.name));
    let kind = if news.kind == Kind::Deployment { String::new() } else { format!("{} ", news.kind.singular()) };
    let headline = format!("{mark}*{reason}* {kind}{namespace}/{name}");
    let section = json!({ "type": "section", "text": mrkdwn(&escaped(&news.message)) });
    let context = json!({ "type": "context", "elements": [mrkdwn(&place(news))] });
    // An empty text is refused.
    let blocks = if news.message.is_empty() { json!([context]) } else { json!([section, context]) };
    json!({ "text": headline, "attachments": [{ "color": colour, "blocks": blocks }] })
}

/// Where it stands, in a line: `Degraded | 2.0.0, stable 1.0.0 | step 2/4 | <when>`.
fn place(news: &News) -> String {
    let version = match &news.stable {
        Some(stable) if *stable != news.version => format!("{}, stable {stable}", news.version),
        _ => news.version.clone(),
    };
    let version = Some(version).filter(|version| !version.is_empty());
    let step = news.step.zip(news.steps).map(|(step, steps)| format!("step {step}/{steps}"));
    let parts = [Some(news.phase.to_string()), version.map(|version| escaped(&version)), step];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    let (seconds, plain) = (news.at.as_second(), news.at);
    // Slack shows it in the time zone of whoever reads it.
    format!("{} | <!date^{seconds}^{{date_short_pretty}} {{time_secs}}|{plain}>", parts.join(" | "))
}

fn mrkdwn(text: &str) -> Value {
    json!({ "type": "mrkdwn", "text": text })
}

/// Slack's three escapes. What is longer than a section may be is cut, and not within an escape.
fn escaped(text: &str) -> String {
    let mut whole = String::with_capacity(text.len());
    for c in text.chars() {
        if whole.len() > LONGEST - "&amp;".len() {
            whole.push_str("...");
            break;
        }
        match c {
            '&' => whole.push_str("&amp;"),
            '<' => whole.push_str("&lt;"),
            '>' => whole.push_str("&gt;"),
            _ => whole.push(c),
        }
    }
    whole
}

#[cfg(test)]
mod tests {
    use helium_crds::Phase;
    use jiff::Timestamp;

    use super::*;

    fn news(message: &str) -> News {
        News {
            at: Timestamp::from_second(1_772_366_400).unwrap(),
            severity: Severity::Warning,
            reason: "RolloutAborted".to_owned(),
            message: message.to_owned(),
            kind: Kind::Deployment,
            namespace: "default".to_owned(),
            name: "shop".to_owned(),
            version: "2.0.0".to_owned(),
            stable: Some("1.0.0".to_owned()),
            phase: Phase::RollingBack,
            step: Some(1),
            steps: Some(4),
            rollout: Some("5b1f0c2e".to_owned()),
        }
    }

    #[test]
    fn a_message_has_a_line_of_text_and_an_attachment_of_blocks() {
        let expected = json!({
            "text": ":warning: *RolloutAborted* default/shop",
            "attachments": [{ "color": "#daa038", "blocks": [
                { "type": "section", "text": { "type": "mrkdwn", "text": "2.0.0 was given up" } },
                { "type": "context", "elements": [{ "type": "mrkdwn", "text": "RollingBack | 2.0.0, stable 1.0.0 | \
                    step 1/4 | <!date^1772366400^{date_short_pretty} {time_secs}|2026-03-01T12:00:00Z>" }] },
            ]}],
        });
        assert_eq!(message(&news("2.0.0 was given up")), expected);
    }

    #[test]
    fn what_people_wrote_mentions_nobody_and_fits() {
        let text =
            |message: &Value| message["attachments"][0]["blocks"][0]["text"]["text"].as_str().unwrap().to_owned();
        assert_eq!(text(&message(&news("by <!channel> & co"))), "by &lt;!channel&gt; &amp; co");
        let long = text(&message(&news(&"<".repeat(5000))));
        assert!(long.len() <= 3000 && long.ends_with("&lt;..."), "{}", long.len());
        let long = text(&message(&news(&"ü".repeat(5000))));
        assert!(long.len() <= 3000, "{}", long.len());
    }

    #[test]
    fn an_event_without_words_has_no_empty_section() {
        let message = message(&news(""));
        assert_eq!(message["attachments"][0]["blocks"].as_array().map(Vec::len), Some(1));
    }

    #[test]
    fn a_message_about_a_hydra_job_says_so_and_has_no_version_before_the_first_build() {
        let news = News { kind: Kind::HydraJob, version: String::new(), stable: None, step: None, ..news("404") };
        let message = message(&news);
        assert_eq!(message["text"], ":warning: *RolloutAborted* hydrajob default/shop");
        let place = message["attachments"][0]["blocks"][1]["elements"][0]["text"].as_str().unwrap();
        assert!(place.starts_with("RollingBack | <!date^"), "{place}");
    }
}
