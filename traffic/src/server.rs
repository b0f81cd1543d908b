//! A server: an instance of a service as a balancer knows it.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

/// The greatest weight that HAProxy knows. 0 would mean no requests at all.
pub const GREATEST_WEIGHT: u32 = 256;

/// One instance that is to get requests.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Server {
    /// The instance, or the id of the service where Helium did not register it.
    pub name: String,
    /// Where it listens.
    pub at: SocketAddr,
    /// Its share of the requests beside the others', 1 to 256.
    pub weight: u16,
}

/// A service of Consul, and the backend of HAProxy that it becomes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Backend {
    /// The name of the service.
    pub service: String,
    /// The name of the backend.
    pub name: String,
    /// Which of its instances get the requests.
    pub who: Who,
}

/// Which instances of a service a backend sends requests to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    /// Those of which all checks pass.
    Serving,
    /// Those of a new version that is tried out beside the one that serves: they are on standby, and nothing else is wrong with them.
    Previews,
}

impl Backend {
    /// The previews of a service, as a backend of their own: `web` becomes `web-preview`, and `web:next` the backend `next`.
    ///
    /// # Errors
    /// The text is neither `NAME` nor `NAME:BACKEND`.
    pub fn of_previews(text: &str) -> Result<Self, BackendError> {
        let named = if text.contains(':') { text.to_owned() } else { format!("{text}:{text}-preview") };
        Ok(Self { who: Who::Previews, ..named.parse()? })
    }
}

/// Why something is no name of a service and its backend.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BackendError {
    /// There is no name of a service.
    #[error("`{0}` names no service: it is `NAME`, or `NAME:BACKEND`")]
    NoService(String),
    /// HAProxy would not take the name.
    #[error(
        "`{0}` is no name of a backend: letters, digits, `-`, `_` and `.` are; `NAME:BACKEND` gives the service another one"
    )]
    Backend(String),
}

impl FromStr for Backend {
    type Err = BackendError;

    /// Reads `web`, or `web:web-servers`.
    fn from_str(text: &str) -> Result<Self, BackendError> {
        let (service, name) = text.split_once(':').unwrap_or((text, text));
        if service.is_empty() {
            return Err(BackendError::NoService(text.to_owned()));
        }
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.is_empty() || !name.chars().all(is_plain) {
            return Err(BackendError::Backend(name.to_owned()));
        }
        Ok(Self { service: service.to_owned(), name: name.to_owned(), who: Who::Serving })
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.service == self.name { f.write_str(&self.name) } else { write!(f, "{}:{}", self.service, self.name) }
    }
}

/// An address and port, with nothing of IPv6 that HAProxy would print otherwise.
pub(crate) fn place(address: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(address.to_canonical(), port)
}

/// Consul's weights, 1 to 65535, as HAProxy's, 1 to 256. They stay as they are if all of them fit; else the greatest becomes 256 and the
/// others keep their ratio to it, as far as whole numbers from 1 on can: 1000, 500 and 1 become 256, 128 and 1.
pub(crate) fn scaled(weights: &[u32]) -> Vec<u16> {
    let greatest = weights.iter().copied().max().unwrap_or(0);
    let scale = |weight: u32| {
        if greatest <= GREATEST_WEIGHT {
            return weight;
        }
        let (weight, greatest) = (u64::from(weight), u64::from(greatest));
        let nearest = (weight * u64::from(GREATEST_WEIGHT) + greatest / 2) / greatest;
        u32::try_from(nearest).unwrap_or(GREATEST_WEIGHT)
    };
    weights.iter().map(|weight| u16::try_from(scale(*weight).clamp(1, GREATEST_WEIGHT)).unwrap_or(1)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_service_is_its_own_backend_unless_another_one_is_named() {
        let backend = |service: &str, name: &str| Backend {
            service: service.to_owned(),
            name: name.to_owned(),
            who: Who::Serving,
        };
        assert_eq!("web".parse(), Ok(backend("web", "web")));
        assert_eq!("a b:web".parse(), Ok(backend("a b", "web")));
        assert_eq!(":web".parse::<Backend>(), Err(BackendError::NoService(":web".to_owned())));
        for wrong in ["a b", "web:", "web:a:b", "web:a#b"] {
            assert!(matches!(wrong.parse::<Backend>(), Err(BackendError::Backend(_))), "{wrong}");
        }
    }

    #[test]
    fn weights_follow_their_worked_example() {
        assert_eq!(scaled(&[1000, 500, 1]), [256, 128, 1]);
        assert_eq!(scaled(&[1, 1, 1]), [1, 1, 1]);
        assert_eq!(scaled(&[256, 255, 0]), [256, 255, 1]);
        assert_eq!(scaled(&[]), [0; 0]);
    }

    proptest! {
        #[test]
        fn scaled_weights_fit_and_keep_their_order(weights in prop::collection::vec(0_u32..=65_535, 0..20)) {
            let scaled = scaled(&weights);
            prop_assert_eq!(scaled.len(), weights.len());
            prop_assert!(scaled.iter().all(|weight| (1..=256).contains(weight)));
            let mut pairs: Vec<(u32, u16)> = weights.into_iter().zip(scaled).collect();
            pairs.sort_unstable();
            prop_assert!(pairs.is_sorted_by_key(|(_, scaled)| *scaled));
        }
    }
}
