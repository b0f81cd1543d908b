//! What an agent serves for Prometheus, read by a real one.

use helium_e2e::{Consul, Helium, Prometheus, ports};
use serde_json::json;

#[test]
fn a_real_prometheus_reads_the_page_of_an_agent() {
    let consul = Consul::start();
    let helium = Helium::on(&consul);
    let port = ports::free();
    let address = format!("127.0.0.1:{port}");
    let flags = ["agent", "--node", "n1", "--data-dir", "data", "--package-dir", "packages", "--http-addr", &address];
    let _agent = helium.start("agent", &flags);
    // The configuration of the guide looks at what bears an instance's name.
    let service =
        json!({ "Name": "agent", "Address": "127.0.0.1", "Port": port, "Meta": { "helium-instance": "agent" } });
    consul.http().put("/v1/agent/service/register", service.to_string());
    let prometheus = Prometheus::start(&consul);
    prometheus.await_number("helium_agent_ready", 1.0);
    prometheus.await_number("helium_agent_instances{phase=\"Running\"}", 0.0);
    prometheus.await_number("helium_agent_render_seconds_count", 0.0);
    prometheus.await_number("time() - helium_agent_consul_last_contact_timestamp_seconds < bool 60", 1.0);
}
