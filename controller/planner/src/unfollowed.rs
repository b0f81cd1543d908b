//! Specs that cannot be followed, wholly or in part: `versions` that name what the history does not have, a Canary whose document is
//! invalid, exact weights that whole instances cannot make.
//!
//! What runs is left alone as far as the spec is not understood. Requests are answered and failing canaries given up all the same,
//! and what was decided goes on: the way back, or a promotion that a person asked for.

use helium_crds::{
    Percent,
    status::{Reason, RolloutKind, Stage, WaitingOn},
};

use crate::{
    draft::Draft,
    requests, rollout,
    targets::{self, Wanted},
};

/// `versions` that cannot be resolved. How many are wanted cannot be told from them, so the count that was followed last stands:
/// a way back goes to that.
pub(crate) fn without_versions(draft: &mut Draft<'_>, problem: String) -> (Wanted, Reason) {
    draft.wanted = draft.status.wanted;
    requests::answer_all(draft);
    rollout::keep_safe(draft);
    draft.wait_for(WaitingOn::Spec { problem });
    let given_up = matches!(stage(draft), Some(Stage::RollingBack | Stage::Aborted));
    let wanted = if given_up { targets::wanted(draft) } else { targets::as_it_is(draft) };
    (wanted, Reason::VersionNotFound)
}

/// A Canary that cannot be followed: how a new template is to be tried out is not known, so none is begun and no step ends. All that needs
/// no steps is followed: the count, the first rollout, the way back to the stable version, a promotion that was decided.
pub(crate) fn without_canary(draft: &mut Draft<'_>, problem: String) -> (Option<Wanted>, Option<Reason>) {
    draft.wait_for(WaitingOn::Spec { problem });
    if rollout::kind_for(draft) != RolloutKind::Canary || draft.stable() == Some(&draft.target.revision) {
        rollout::follow_template(draft);
    }
    requests::answer_all(draft);
    let own = is_own(draft);
    match stage(draft) {
        Some(Stage::Promoting) if own => rollout::advance(draft),
        _ => rollout::keep_safe(draft),
    }
    let wanted = match stage(draft) {
        Some(Stage::Promoting) if !own => targets::held(draft),
        _ => targets::wanted(draft),
    };
    let given_up = matches!(stage(draft), Some(Stage::RollingBack | Stage::Aborted | Stage::RollbackFailed));
    (Some(wanted), (!given_up || !own).then_some(Reason::InvalidSpec))
}

/// A canary whose steps ask for a weight that cannot be had does not begin, and one that is at its steps stays where it is.
pub(crate) fn without_weight(draft: &mut Draft<'_>, weight: Percent) -> (Option<Wanted>, Option<Reason>) {
    let problem = format!("`exact: true`, and whole instances cannot make {weight}");
    requests::answer_all(draft);
    rollout::keep_safe(draft);
    if is_own(draft) && stage(draft) != Some(Stage::Steps) {
        return (Some(targets::wanted(draft)), None);
    }
    draft.wait_for(WaitingOn::Spec { problem });
    let under_way = matches!(stage(draft), Some(Stage::Steps | Stage::Promoting));
    let wanted = if under_way { targets::as_it_is(draft) } else { targets::wanted(draft) };
    (Some(wanted), Some(Reason::WeightNotPossible))
}

fn stage(draft: &Draft<'_>) -> Option<Stage> {
    draft.status.rollout.as_ref().map(|rollout| rollout.stage)
}

/// Whether the rollout goes to the present template.
fn is_own(draft: &Draft<'_>) -> bool {
    draft.status.rollout.as_ref().is_some_and(|rollout| rollout.revision == draft.target.revision)
}
