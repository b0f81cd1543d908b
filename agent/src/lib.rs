//! What runs on a machine: drivers, supervision, registration.
