//! Watch, cache, queue, runner, leader: a controller over Consul KV, generic over the object.
