//! World in, Plan out: the pure decisions of a rollout.
