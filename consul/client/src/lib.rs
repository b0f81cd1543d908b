//! Consul's HTTP API as typed async calls.
