//! Tables: columns in line, no frame, nothing at the ends of lines.

use comfy_table::{ColumnConstraint, ContentArrangement, Table, Width, presets::NOTHING};

use super::console::{Console, Tone};

/// How far columns stand apart.
const GAP: u16 = 3;

/// A table that is being filled. Every row has as many cells as there are columns.
pub(crate) struct Rows {
    columns: Vec<&'static str>,
    cells: Vec<Vec<String>>,
    tones: Vec<Option<(usize, Tone)>>,
}

impl Rows {
    /// An empty table with these headings.
    pub(crate) fn new(columns: &[&'static str]) -> Self {
        Self { columns: columns.to_vec(), cells: Vec::new(), tones: Vec::new() }
    }

    /// Adds a row.
    pub(crate) fn add(&mut self, cells: Vec<String>) {
        self.cells.push(cells);
        self.tones.push(None);
    }

    /// Adds a row of which one cell has a colour.
    pub(crate) fn add_toned(&mut self, cells: Vec<String>, column: usize, tone: Tone) {
        self.cells.push(cells);
        self.tones.push(Some((column, tone)));
    }

    /// True while no row was added.
    pub(crate) fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }

    /// The lines of the table, the headings first.
    pub(crate) fn lines(&self, console: &Console) -> Vec<String> {
        self.lines_in(&[], console)
    }

    /// The same in columns that are at least so wide.
    pub(crate) fn lines_in(&self, least: &[usize], console: &Console) -> Vec<String> {
        let mut lines = self.layout(least).into_iter();
        let mut painted: Vec<String> =
            lines.next().map(|heading| console.paint(Tone::Faint, &heading)).into_iter().collect();
        for (number, line) in lines.enumerate() {
            let toned = self.tones.get(number).copied().flatten();
            let cell = toned.and_then(|(column, tone)| Some((self.cells.get(number)?.get(column)?, tone)));
            painted.push(match cell {
                // The layout is of plain text, so that colours do not count as width; the word is found again and painted.
                Some((text, tone)) if !text.is_empty() => line.replacen(text.as_str(), &console.paint(tone, text), 1),
                _ => line,
            });
        }
        painted
    }

    /// How wide each column has to be for what is in it; the last one may end where it wants.
    pub(crate) fn widths(&self) -> Vec<usize> {
        let mut widths: Vec<usize> = self.columns.iter().map(|heading| heading.chars().count()).collect();
        let _last = widths.pop();
        for row in &self.cells {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        widths
    }

    /// The lines as plain text.
    fn layout(&self, least: &[usize]) -> Vec<String> {
        let mut table = Table::new();
        table.load_style(NOTHING);
        table.set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(&self.columns);
        table.add_rows(&self.cells);
        for (number, column) in table.column_iter_mut().enumerate() {
            column.set_padding((0, GAP));
            let least = least.get(number).and_then(|least| u16::try_from(*least).ok()).unwrap_or(0);
            column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(least + GAP)));
        }
        table.lines().map(|line| line.trim_end().to_owned()).collect()
    }
}

/// A table that goes on for as long as somebody watches: rows that come later stand under the headings above them.
#[derive(Debug, Default)]
pub(crate) struct Endless {
    widths: Vec<usize>,
}

impl Endless {
    /// The lines for these rows. The headings come first, and again where a row needs wider columns, or `anew` says that something
    /// else was printed in between.
    pub(crate) fn lines(&mut self, rows: &Rows, anew: bool, console: &Console) -> Vec<String> {
        let needed = rows.widths();
        let fits = needed.len() == self.widths.len() && needed.iter().zip(&self.widths).all(|(new, old)| new <= old);
        if !fits {
            self.widths.resize(needed.len(), 0);
            self.widths.iter_mut().zip(needed).for_each(|(old, new)| *old = new.max(*old));
        }
        let mut lines = rows.lines_in(&self.widths, console);
        if fits && !anew {
            lines.remove(0);
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(cells: &[[&str; 3]]) -> Rows {
        let mut rows = Rows::new(&["NAME", "PHASE", "AGE"]);
        for row in cells {
            rows.add(row.iter().map(|&cell| cell.to_owned()).collect());
        }
        rows
    }

    #[test]
    fn rows_that_come_later_stand_under_the_headings_and_new_headings_come_with_wider_columns() {
        let (mut table, console) = (Endless::default(), Console::plain());
        let mut lines = table.lines(&rows(&[["hello", "Progressing", "5s"], ["w", "Healthy", "9m"]]), true, &console);
        lines.extend(table.lines(&rows(&[["w", "Degraded", "10m"]]), false, &console));
        lines.extend(table.lines(&rows(&[["a-longer-name", "Healthy", "0s"]]), false, &console));
        lines.extend(table.lines(&rows(&[["hello", "Healthy", "7s"]]), false, &console));
        insta::assert_snapshot!(lines.join("\n"), @r"
        NAME    PHASE         AGE
        hello   Progressing   5s
        w       Healthy       9m
        w       Degraded      10m
        NAME            PHASE         AGE
        a-longer-name   Healthy       0s
        hello           Healthy       7s
        ");
    }

    #[test]
    fn a_table_that_is_empty_at_first_has_its_headings_already() {
        let (mut table, console) = (Endless::default(), Console::plain());
        assert_eq!(table.lines(&rows(&[]), true, &console), ["NAME   PHASE   AGE"]);
        assert_eq!(table.lines(&rows(&[["w", "Up", "9m"]]), false, &console), ["w      Up      9m"]);
    }
}
