//! Tables: columns in line, no frame, nothing at the ends of lines.

use comfy_table::{ContentArrangement, Table, presets::NOTHING};

use super::console::{Console, Tone};

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
        let mut lines = self.layout().into_iter();
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

    /// The lines as plain text.
    fn layout(&self) -> Vec<String> {
        let mut table = Table::new();
        table.load_style(NOTHING);
        table.set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(&self.columns);
        table.add_rows(&self.cells);
        for column in table.column_iter_mut() {
            column.set_padding((0, 3));
        }
        table.lines().map(|line| line.trim_end().to_owned()).collect()
    }
}
