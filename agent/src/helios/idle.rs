//! The look at the node while it has no services: each service looks itself, and without any nobody would see that the node is in maintenance.

use super::{
    agent::Common,
    service::{CALL_LIMIT, LOOK, LOOKS},
};

/// Looks as often as a service at rest does, whenever there is none.
pub(super) async fn look_while_idle(common: &Common) {
    loop {
        if common.showing.is_idle() {
            look(common).await;
        }
        tokio::time::sleep(common.ports.jittered(LOOK.1, 20)).await;
    }
}

async fn look(common: &Common) {
    let heard = match tokio::time::timeout(CALL_LIMIT, common.client.agent_checks()).await {
        Ok(Ok(checks)) => {
            common.showing.look(&checks);
            Ok(())
        }
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("no answer".to_owned()),
    };
    common.showing.telemetry.heard(LOOKS, heard);
}
