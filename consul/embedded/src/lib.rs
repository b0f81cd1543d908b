//! The part of Consul's HTTP API that Helium uses, as one in-process, single-node, durable server.
