//! What may be wrong with an agent on purpose, and by which rule it is to be found.

use super::rules::Broken;

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Defect {
    /// A process passes its gate before the record names it.
    GateBeforeNote,
    /// After a restart nothing is taken to be registered.
    NothingIsRegistered,
    /// A missing assignment is a wish to stop.
    MissingIsStop,
    /// A view that cannot be trusted and shows nothing is one of nothing.
    BlindIsMissingAndStop,
    /// A stop is noted as done when it begins.
    StoppedAtOnce,
    /// A stop does not wait until the instance is out of Consul.
    StopPassesConsul,
    /// What failed is tried again at once.
    NoWait,
    /// Files are written one by one.
    FilesOneByOne,
    /// What an earlier life has left half done of files is left so.
    NoRecovery,
    /// The hook `post-stop` is forgotten.
    NoPostStop,
    /// The hook `pre-stop` is forgotten.
    NoPreStop,
    /// Who does not end at once is killed.
    NoGrace,
    /// That a program is to be told of new files is not noted.
    NobodyIsTold,
    /// What is lost in Consul is not seen.
    LossUnseen,
    /// Retags are forgotten.
    TagsUnseen,
    /// What has stopped is never forgotten.
    NothingIsForgotten,
    /// That an instance was stopped for want of Consul is forgotten with the agent.
    CutOffForgotten,
}

/// All of them, each with the rules that may find it.
pub(super) const ALL: &[(Defect, &[Broken])] = &[
    (Defect::GateBeforeNote, &[Broken::TwoCopies, Broken::StrayProcess]),
    (Defect::NothingIsRegistered, &[Broken::StartedUnderOldRegistration, Broken::SignalledWhileRegistered]),
    (Defect::MissingIsStop, &[Broken::StoppedUnasked]),
    (Defect::BlindIsMissingAndStop, &[Broken::StoppedUnasked]),
    (Defect::StoppedAtOnce, &[Broken::StoppedButRuns]),
    (Defect::StopPassesConsul, &[Broken::SignalledWhileRegistered]),
    (Defect::NoWait, &[Broken::StartedTooSoon, Broken::NoRest]),
    (Defect::FilesOneByOne, &[Broken::TornFiles]),
    (Defect::NoRecovery, &[Broken::TornFiles]),
    (Defect::NoPostStop, &[Broken::HookLeftOut]),
    (Defect::NoPreStop, &[Broken::HookLeftOut]),
    (Defect::NoGrace, &[Broken::KilledTooSoon]),
    (Defect::NobodyIsTold, &[Broken::OldFiles]),
    (Defect::LossUnseen, &[Broken::NotAsWanted]),
    (Defect::TagsUnseen, &[Broken::NotAsWanted]),
    (Defect::NothingIsForgotten, &[Broken::NotAsWanted]),
    (Defect::CutOffForgotten, &[Broken::RunsUnseen]),
];
