//! Deletion: every instance is stopped, and when nothing is left, the object goes.

use helium_crds::{
    InstanceId,
    status::{Reason, WaitingOn},
};

use crate::{
    act,
    census::{State, count},
    draft::Draft,
    plan::Action,
};

/// Takes everything down. The object itself goes last, so that a crash in the middle leaves the mark to go on from.
pub(crate) fn take_down(draft: &mut Draft<'_>) -> (Vec<Action>, Reason) {
    draft.status.rollout = None;
    let mut actions = Vec::new();
    let ids: Vec<InstanceId> = draft.census().members.keys().cloned().collect();
    for id in &ids {
        let Some(member) = draft.census().members.get(id) else { continue };
        match member.state {
            State::Stopped => actions.push(Action::Forget(Box::new(member.instance.clone()))),
            State::Stopping | State::StoppingLost => actions.extend(act::made_whole(draft, member)),
            _ => actions.extend(act::deleted(draft, &draft.census, id)),
        }
    }
    // Those that are stopping already are waited for like any other; these are told to stop only now.
    let told = count(draft.census().live());
    if told > 0 {
        let version = draft.target.version.clone();
        draft.wait_for(WaitingOn::Stopping { version, instances: told });
    }
    if actions.is_empty() && draft.census().members.is_empty() {
        actions.push(Action::RemoveObject);
    }
    (actions, Reason::DeletionRequested)
}
