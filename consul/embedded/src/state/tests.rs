//! What no reader sees through HTTP: rollback, replay, timers.
