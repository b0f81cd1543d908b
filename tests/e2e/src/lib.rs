//! Stories against the real binary and a real Consul.
