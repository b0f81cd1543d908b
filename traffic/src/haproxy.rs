//! What HAProxy says of its servers, and what can be said to it.

use std::{collections::BTreeMap, fmt, net::SocketAddr};

use crate::server::place;

/// Servers in HAProxy keep the names that its file gives them, so ours are slots that change their tenants: `slot-1`, `slot-2`, ...
const SLOT: &str = "slot-";

/// The bits of `srv_admin_state` that take a server out: by a person or the file, by a server that it tracks, by resolution, by its name.
const MAINT: u32 = 0x01 | 0x02 | 0x20 | 0x40;
/// Those that let it finish: by a person, or by a server that it tracks.
const DRAIN: u32 = 0x08 | 0x10;

/// One server of a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Where it sends requests.
    pub at: SocketAddr,
    /// Whether it gets any.
    pub state: SlotState,
    /// Its share beside the others'.
    pub weight: u16,
    /// How many sessions it has now.
    pub sessions: u64,
}

/// Whether a server gets requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotState {
    /// It gets requests.
    Ready,
    /// It gets no new ones and may finish those that it has.
    Drain,
    /// It gets none.
    Maint,
}

impl Slot {
    /// Whether another server may move in.
    pub fn is_free(&self) -> bool {
        self.state == SlotState::Maint && self.sessions == 0
    }
}

/// The name of the n-th slot, from 0.
pub(crate) fn slot_name(index: usize) -> String {
    format!("{SLOT}{}", index + 1)
}

/// One thing to say to HAProxy about the n-th slot, from 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// The slot.
    pub slot: usize,
    /// What is to become of it.
    pub change: Change,
}

/// What is to become of a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It sends requests there from now on.
    Move(SocketAddr),
    /// It has this weight from now on.
    Weigh(u16),
    /// It is in this state from now on.
    Enter(SlotState),
}

impl Command {
    /// The line of the runtime API: `set server web/slot-3 addr 10.0.0.7 port 8080`.
    pub fn line(&self, backend: &str) -> String {
        let server = format!("set server {backend}/{}", slot_name(self.slot));
        match self.change {
            Change::Move(at) => format!("{server} addr {} port {}", at.ip(), at.port()),
            Change::Weigh(weight) => format!("{server} weight {weight}"),
            Change::Enter(state) => format!("{server} state {state}"),
        }
    }

    /// Whether HAProxy has done it, by its answer: it says nothing, or what the address was before.
    pub fn is_done(&self, answer: &str) -> bool {
        let answer = answer.trim();
        let moved = ["IP changed from", "no need to change the addr", "port changed from"];
        answer.is_empty()
            || (matches!(self.change, Change::Move(_)) && moved.iter().any(|words| answer.starts_with(words)))
    }
}

impl fmt::Display for SlotState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ready => "ready",
            Self::Drain => "drain",
            Self::Maint => "maint",
        })
    }
}

/// The slots of each backend, in their order.
pub type Table = BTreeMap<String, Vec<Slot>>;

/// Reads the answers to `show servers state` and `show stat`; the error says what is strange in them. Servers of other names, and slots
/// behind a missing one, are not ours and are left alone.
pub fn table(state: &str, stat: &str) -> Result<Table, String> {
    let sessions = sessions(stat)?;
    let mut found: BTreeMap<String, BTreeMap<usize, Slot>> = BTreeMap::new();
    let rows = rows(state, ' ').ok_or("`show servers state` has no header")?;
    for row in rows {
        let backend = row.text("be_name")?;
        let slots = found.entry(backend.to_owned()).or_default();
        let name = row.text("srv_name")?;
        let Some(number) = name.strip_prefix(SLOT).and_then(|number| number.parse::<usize>().ok()) else { continue };
        let Some(index) = number.checked_sub(1) else { continue };
        // A server without an address (a name that does not resolve) is none that we have put there.
        let Ok(address) = row.text("srv_addr")?.parse() else { continue };
        let admin: u32 = row.number("srv_admin_state")?;
        let state = match admin {
            bits if bits & MAINT != 0 => SlotState::Maint,
            bits if bits & DRAIN != 0 => SlotState::Drain,
            _ => SlotState::Ready,
        };
        let sessions = sessions.get(&(backend.to_owned(), name.to_owned())).copied().unwrap_or(0);
        let at = place(address, row.number("srv_port")?);
        slots.insert(index, Slot { at, state, weight: row.number("srv_uweight")?, sessions });
    }
    let contiguous = |slots: BTreeMap<usize, Slot>| -> Vec<Slot> {
        (0..).zip(slots).take_while(|(place, (index, _))| place == index).map(|(_, (_, slot))| slot).collect()
    };
    Ok(found.into_iter().map(|(backend, slots)| (backend, contiguous(slots))).collect())
}

/// How many sessions each server has now.
fn sessions(stat: &str) -> Result<BTreeMap<(String, String), u64>, String> {
    let rows = rows(stat, ',').ok_or("`show stat` has no header")?;
    rows.map(|row| {
        let server = (row.text("pxname")?.to_owned(), row.text("svname")?.to_owned());
        Ok((server, row.number("scur")?))
    })
    .collect()
}

/// One line of a table that HAProxy prints, with the header that names its fields.
struct Row<'a> {
    header: &'a str,
    line: &'a str,
    between: char,
}

impl<'a> Row<'a> {
    fn text(&self, field: &str) -> Result<&'a str, String> {
        let place = self.header.split(self.between).position(|name| name == field);
        place.and_then(|place| self.line.split(self.between).nth(place)).ok_or_else(|| format!("there is no `{field}`"))
    }

    fn number<N: std::str::FromStr>(&self, field: &str) -> Result<N, String> {
        let text = self.text(field)?;
        text.parse().map_err(|_| format!("`{field}` is `{text}`, which is no such number"))
    }
}

/// The lines behind the header, which begins with `# `.
fn rows(answer: &str, between: char) -> Option<impl Iterator<Item = Row<'_>>> {
    let mut lines = answer.lines();
    let header = lines.find_map(|line| line.strip_prefix("# "))?;
    Some(lines.filter(|line| !line.trim().is_empty()).map(move |line| Row { header, line, between }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As HAProxy 2.6 prints them.
    const STATE: &str = "1\n# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight \
        srv_time_since_last_change srv_check_status srv_check_result srv_check_health srv_check_state srv_agent_state \
        bk_f_forced_id srv_f_forced_id srv_fqdn srv_port srvrecord srv_use_ssl srv_check_port srv_check_addr srv_agent_addr \
        srv_agent_port\n\
        3 web 1 slot-1 127.0.0.1 2 8 1 1 0 1 0 2 0 0 0 0 - 9001 - 0 0 - - 0\n\
        3 web 2 slot-2 ::1 2 4 3 3 1 1 0 2 0 0 0 0 - 9002 - 0 0 - - 0\n\
        3 web 3 slot-3 127.0.0.1 0 5 1 1 1 1 0 0 8 0 0 0 - 1 - 0 0 - - 0\n\
        3 web 4 slot-5 127.0.0.1 0 0 1 1 1 1 0 0 8 0 0 0 - 1 - 0 0 - - 0\n\
        4 api 1 by-hand 127.0.0.1 2 0 1 1 1 1 0 2 0 0 0 0 - 9003 - 0 0 - - 0\n\n";
    const STAT: &str = "# pxname,svname,qcur,qmax,scur,smax,slim\nweb,slot-1,0,0,4,9,\nweb,slot-2,0,0,0,1,\n\
        web,slot-3,0,0,0,0,\nweb,slot-5,0,0,0,0,\napi,by-hand,0,0,0,0,\n\n";

    #[test]
    fn the_slots_of_each_backend_are_read_and_other_servers_are_not_ours() {
        let slot = |at: &str, state, weight, sessions| Slot { at: at.parse().unwrap(), state, weight, sessions };
        let web = vec![
            slot("127.0.0.1:9001", SlotState::Drain, 1, 4),
            slot("[::1]:9002", SlotState::Ready, 3, 0),
            slot("127.0.0.1:1", SlotState::Maint, 1, 0),
        ];
        let expected = Table::from([("web".to_owned(), web), ("api".to_owned(), Vec::new())]);
        assert_eq!(table(STATE, STAT).unwrap(), expected);
    }

    #[test]
    fn an_answer_that_is_no_table_is_no_empty_table() {
        assert!(table("Permission denied\n\n", STAT).unwrap_err().contains("has no header"));
        assert!(table(STATE, "\n").unwrap_err().contains("has no header"));
        assert!(table(&STATE.replace("srv_port", "srv_door"), STAT).unwrap_err().contains("`srv_port`"));
        assert!(table(&STATE.replace(" 9001 ", " none "), STAT).unwrap_err().contains("`none`"));
    }

    #[test]
    fn commands_are_lines_of_the_runtime_api() {
        let line = |slot, change| Command { slot, change }.line("web");
        let moved = line(2, Change::Move("10.0.0.7:8080".parse().unwrap()));
        assert_eq!(moved, "set server web/slot-3 addr 10.0.0.7 port 8080");
        assert_eq!(line(0, Change::Move("[::1]:80".parse().unwrap())), "set server web/slot-1 addr ::1 port 80");
        assert_eq!(line(0, Change::Weigh(7)), "set server web/slot-1 weight 7");
        assert_eq!(line(0, Change::Enter(SlotState::Drain)), "set server web/slot-1 state drain");
    }

    #[test]
    fn an_answer_tells_whether_it_was_done() {
        let moved = Command { slot: 0, change: Change::Move("10.0.0.7:80".parse().unwrap()) };
        let ready = Command { slot: 0, change: Change::Enter(SlotState::Ready) };
        for (command, answer, done) in [
            (
                &moved,
                "IP changed from '127.0.0.1' to '10.0.0.7', port changed from '1' to '80' by 'stats socket command'\n\n",
                true,
            ),
            (&moved, "no need to change the addr, port changed from '1' to '80' by 'stats socket command'\n\n", true),
            (&moved, "Invalid addr 'foo' by 'stats socket command'\n\n", false),
            (&ready, "\n", true),
            (&ready, "No such server.\n\n", false),
            (&ready, "Permission denied\n\n", false),
        ] {
            assert_eq!(command.is_done(answer), done, "{answer}");
        }
    }
}
