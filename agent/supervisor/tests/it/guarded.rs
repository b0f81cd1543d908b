//! The probe: a whole program with its guardian.
