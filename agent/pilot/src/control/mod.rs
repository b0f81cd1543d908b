//! The control socket, and who speaks to it.
//!
//! | request | what it does | answers |
//! |---|---|---|
//! | `POST /v3/environ`, `/v3/env` | sets variables, an object of texts, for what is started from now on and for the next reload | 200; 422 |
//! | `POST /v3/metric` | measures, an object of numbers by the names of metrics | 200; 422 |
//! | `POST /v3/reload` | takes the file as it is now, or leaves all as it is and says why | 200; 422 |
//! | `POST /v3/maintenance/enable`, `disable` | maintenance | 200 |
//! | `GET /v3/ping` | nothing | 200 |
//! | `GET /v3/status` | what `/status` of the telemetry says; Helium's own | 200 |

mod client;
mod server;
mod socket;

pub use self::{
    client::{Answer, ClientError, ask},
    server::serve,
    socket::{Socket, SocketError},
};
