//! Plots as Plotly's figures, and the same as tables. Colours, dashes and marks are those of the
//! page, by the number of the line.

use super::table::{Cell, Table};
use serde_json::{Map, Value, json};

/// Rows of a plot's table.
const MOST_ROWS: usize = 24;

/// An axis.
#[derive(Clone, Debug, Default)]
pub struct Axis {
    /// What it shows, and its unit.
    pub title: String,
    /// Logarithmic; what is not above 0 is left out.
    pub log: bool,
    /// Begins at 0.
    pub from_zero: bool,
    /// Shares, shown in percent.
    pub percent: bool,
    /// From 0 to 1, whatever is shown.
    pub whole: bool,
    /// What the places 0, 1, 2, ... are called; empty = they are numbers.
    pub names: Vec<String>,
}

impl Axis {
    /// A linear one.
    #[must_use]
    pub fn new(title: &str) -> Self {
        Self {
            title: title.to_owned(),
            ..Self::default()
        }
    }

    /// A linear one that begins at 0.
    #[must_use]
    pub fn from_zero(title: &str) -> Self {
        Self {
            from_zero: true,
            ..Self::new(title)
        }
    }

    /// Shares from 0 to 1.
    #[must_use]
    pub fn share(title: &str) -> Self {
        Self {
            percent: true,
            whole: true,
            ..Self::from_zero(title)
        }
    }

    /// A logarithmic one.
    #[must_use]
    pub fn log(title: &str) -> Self {
        Self {
            log: true,
            ..Self::new(title)
        }
    }

    fn layout(&self) -> Value {
        let mut axis = json!({"title": {"text": self.title}});
        if self.log {
            axis["type"] = "log".into();
        } else if self.from_zero {
            axis["rangemode"] = "tozero".into();
        }
        if self.percent {
            axis["tickformat"] = "~%".into();
        }
        if self.whole {
            axis["range"] = json!([0, 1.02]);
        }
        if !self.names.is_empty() {
            axis["tickvals"] = (0..self.names.len()).collect();
            axis["ticktext"] = self.names.iter().map(|name| plain(name)).collect();
            axis["zeroline"] = false.into();
        }
        axis
    }
}

/// Figures; `None` where there is none.
pub type Values = Vec<Option<f64>>;

/// A line.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    /// Its name in the legend.
    pub name: String,
    /// Where.
    pub x: Vec<f64>,
    /// How much; `None` interrupts the line.
    pub y: Vec<Option<f64>>,
    /// The lowest and the highest value at each place: a band around the line.
    pub band: Option<[Values; 2]>,
    /// Each value holds until the next one.
    pub stepped: bool,
    /// With a mark at each point.
    pub marked: bool,
    /// Bars in place of a line.
    pub bars: bool,
}

/// A line across the plot, with a word on it.
#[derive(Clone, Debug)]
pub struct Mark {
    /// At this place of the x axis, or of the other one.
    pub on_x: bool,
    /// Where.
    pub at: f64,
    /// What it means.
    pub label: String,
}

/// A plot of lines.
#[derive(Clone, Debug, Default)]
pub struct Chart {
    /// Its title.
    pub title: String,
    /// What the reader has to know; may be empty.
    pub note: String,
    /// Axes.
    pub x: Axis,
    /// See `x`.
    pub y: Axis,
    /// Lines.
    pub traces: Vec<Trace>,
    /// Lines across it.
    pub marks: Vec<Mark>,
    /// As broad as the page.
    pub broad: bool,
}

/// Five digits: more cannot be seen, and pages stay small.
fn short(x: f64) -> Value {
    if !x.is_finite() {
        return Value::Null;
    }
    if x == 0.0 || x.abs() >= 1e5 {
        return json!(x.round());
    }
    let behind = (4 - x.abs().log10().floor() as i32).clamp(0, 9) as usize;
    let text = format!("{x:.behind$}");
    text.parse::<f64>().map_or(Value::Null, |x| json!(x))
}

fn numbers(values: &[Option<f64>]) -> Value {
    values
        .iter()
        .map(|v| v.map_or(Value::Null, short))
        .collect()
}

impl Chart {
    /// Data and layout.
    pub(super) fn figure(&self) -> (Value, Value) {
        let mut data = Vec::new();
        for (k, t) in self.traces.iter().enumerate() {
            let x: Value = t.x.iter().map(|&x| short(x)).collect();
            if let Some([low, high]) = &t.band {
                let edge = |y: &[Option<f64>], fill: Option<&str>| {
                    let mut edge = json!({
                        "x": x, "y": numbers(y), "mode": "lines", "meta": k, "legendgroup": k.to_string(),
                        "showlegend": false, "hoverinfo": "skip", "line": {"width": 0},
                    });
                    if let Some(fill) = fill {
                        edge["fill"] = fill.into();
                    }
                    edge
                };
                data.push(edge(low, None));
                data.push(edge(high, Some("tonexty")));
            }
            let mut trace = json!({
                "name": plain(&t.name), "x": x, "y": numbers(&t.y), "meta": k, "legendgroup": k.to_string(),
                "mode": if t.marked { "lines+markers" } else { "lines" },
            });
            if t.bars {
                trace["type"] = "bar".into();
            }
            if t.stepped {
                trace["line"] = json!({"shape": "hv"});
            }
            data.push(trace);
        }
        let mut shapes = Vec::new();
        let mut notes = Vec::new();
        for mark in &self.marks {
            let (axis, across, log) = match mark.on_x {
                true => ("x", "y", self.x.log),
                false => ("y", "x", self.y.log),
            };
            let mut shape = Map::new();
            shape.insert("type".into(), "line".into());
            shape.insert(format!("{axis}ref"), axis.into());
            shape.insert(format!("{across}ref"), "paper".into());
            shape.insert(format!("{axis}0"), short(mark.at));
            shape.insert(format!("{axis}1"), short(mark.at));
            shape.insert(format!("{across}0"), 0.into());
            shape.insert(format!("{across}1"), 1.into());
            shapes.push(Value::Object(shape));
            // Places of annotations on logarithmic axes are exponents.
            let place = if log { mark.at.log10() } else { mark.at };
            notes.push(match mark.on_x {
                true => {
                    json!({"text": mark.label, "x": place, "xref": "x", "y": 0.02, "yref": "paper",
                    "xanchor": "left", "yanchor": "bottom"})
                }
                false => {
                    json!({"text": mark.label, "y": place, "yref": "y", "x": 0.99, "xref": "paper",
                    "xanchor": "right", "yanchor": "bottom"})
                }
            });
        }
        let layout = json!({
            "xaxis": self.x.layout(), "yaxis": self.y.layout(), "shapes": shapes, "annotations": notes,
            "showlegend": self.traces.len() > 1,
        });
        (Value::from(data), layout)
    }

    /// Its figures: of each place, at most two dozen of them.
    pub(super) fn table(&self) -> Table {
        let mut table = Table::default();
        let shared = self.traces.windows(2).all(|two| two[0].x == two[1].x);
        if shared {
            table.head.push(self.x.title.clone());
            table
                .head
                .extend(self.traces.iter().map(|t| self.column(&t.name)));
            let places = self.traces.first().map_or(0, |t| t.x.len());
            for k in picked(places) {
                let mut row = vec![Cell::Text(self.place(self.traces[0].x[k]))];
                let values = self.traces.iter().map(|t| t.y.get(k).copied().flatten());
                row.extend(values.map(Cell::Number));
                table.rows.push(row);
            }
            return table;
        }
        table.head = vec![
            "line".to_owned(),
            self.x.title.clone(),
            self.y.title.clone(),
        ];
        for t in &self.traces {
            for k in picked(t.x.len()) {
                let y = t.y.get(k).copied().flatten();
                table.rows.push(vec![
                    t.name.clone().into(),
                    self.place(t.x[k]).into(),
                    Cell::Number(y),
                ]);
            }
        }
        table
    }

    /// A place of the x axis.
    fn place(&self, x: f64) -> String {
        let name = self.x.names.get(x as usize);
        name.cloned().unwrap_or_else(|| super::figure(x))
    }

    fn column(&self, name: &str) -> String {
        match name.is_empty() {
            true => self.y.title.clone(),
            false => format!("{name}, {}", self.y.title),
        }
    }
}

/// Plotly reads a little of HTML in texts, which names are not.
fn plain(text: &str) -> String {
    let text = text.replace('&', "&amp;");
    text.replace('<', "&lt;").replace('>', "&gt;")
}

/// Some of so many places, the first and the last among them.
fn picked(places: usize) -> Vec<usize> {
    let rows = places.min(MOST_ROWS);
    (0..rows)
        .map(|row| match rows {
            1 => 0,
            _ => row * (places - 1) / (rows - 1),
        })
        .collect()
}

/// A heat map: a row per thing, over time.
#[derive(Clone, Debug, Default)]
pub struct Heat {
    /// Its title.
    pub title: String,
    /// What the reader has to know; may be empty.
    pub note: String,
    /// What is below it, and its unit.
    pub x_title: String,
    /// Middles of the columns.
    pub x: Vec<f64>,
    /// Names of the rows, from above.
    pub names: Vec<String>,
    /// Their values.
    pub rows: Vec<Vec<Option<f64>>>,
    /// What the values are.
    pub unit: String,
    /// Shares, shown in percent, from 0 to 1.
    pub percent: bool,
}

impl Heat {
    /// Data and layout.
    pub(super) fn figure(&self) -> (Value, Value) {
        let x: Value = self.x.iter().map(|&x| short(x)).collect();
        let z: Value = self.rows.iter().map(|row| numbers(row)).collect();
        let shown = if self.percent {
            "%{z:.1%}"
        } else {
            "%{z:.4~g}"
        };
        let mut trace = json!({
            "type": "heatmap", "x": x, "y": self.names.iter().map(|name| plain(name)).collect::<Vec<_>>(), "z": z, "zmin": 0, "name": "",
            "hovertemplate": format!("%{{y}}, %{{x}} s: {shown} {}<extra></extra>", self.unit),
            "colorbar": {},
        });
        if self.percent {
            trace["colorbar"]["tickformat"] = "~%".into();
        }
        let layout = json!({
            "height": 110 + (self.names.len() * 22).clamp(90, 700),
            "hovermode": "closest",
            "xaxis": {"title": {"text": self.x_title}},
            "yaxis": {"autorange": "reversed", "type": "category", "ticks": ""},
        });
        (json!([trace]), layout)
    }

    /// Mean and most of every row.
    pub(super) fn table(&self) -> Table {
        let mut table = Table::new(&["", "mean", "most"]);
        table.caption = format!("{} over the plot's columns", self.unit);
        for (name, row) in self.names.iter().zip(&self.rows) {
            let values: Vec<f64> = row.iter().copied().flatten().collect();
            let mean =
                (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64);
            let most = values.iter().copied().reduce(f64::max);
            table
                .rows
                .push(vec![name.clone().into(), mean.into(), most.into()]);
        }
        table
    }
}

/// A figure with its interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The figure.
    pub value: f64,
    /// Its interval; none of a single run.
    pub interval: Option<[f64; 2]>,
}

/// Figures with intervals, a row per thing, side by side for several.
#[derive(Clone, Debug, Default)]
pub struct Dots {
    /// Its title.
    pub title: String,
    /// What the reader has to know; may be empty.
    pub note: String,
    /// What the figures are, and their unit.
    pub x_title: String,
    /// Names of the rows, from above.
    pub names: Vec<String>,
    /// Whose figures, and one for each row.
    pub series: Vec<(String, Vec<Option<Estimate>>)>,
}

impl Dots {
    /// Data and layout.
    pub(super) fn figure(&self) -> (Value, Value) {
        let several = self.series.len();
        let data = self.series.iter().enumerate().map(|(k, (name, row))| {
            // Beside each other within the row.
            let shift = (k as f64 + 0.5) / several as f64 * 0.6 - 0.3;
            let y: Vec<f64> = (0..row.len()).map(|at| at as f64 + shift).collect();
            let of = |of: &dyn Fn(&Estimate) -> Value| -> Value {
                row.iter()
                    .map(|e| e.as_ref().map_or(Value::Null, of))
                    .collect()
            };
            let part = |e: &Estimate, end: usize| {
                e.interval
                    .map_or(json!(0), |ends| short((ends[end] - e.value).abs()))
            };
            json!({
                "name": plain(name), "meta": k, "mode": "markers", "y": y, "x": of(&|e| short(e.value)),
                "error_x": {"type": "data", "symmetric": false, "array": of(&|e| part(e, 1)),
                    "arrayminus": of(&|e| part(e, 0))},
                "text": self.names.iter().map(|name| plain(name)).collect::<Vec<_>>(),
                "hovertemplate": "%{text}: %{x:.4~g}<extra>%{fullData.name}</extra>",
            })
        });
        let layout = json!({
            "height": 110 + self.names.len() * (14 + 12 * several.min(8)),
            "hovermode": "closest", "showlegend": several > 1,
            "xaxis": {"title": {"text": self.x_title}, "zeroline": true},
            "yaxis": {"tickvals": (0..self.names.len()).collect::<Vec<_>>(), "zeroline": false, "ticks": "",
                "ticktext": self.names.iter().map(|name| plain(name)).collect::<Vec<_>>(),
                "range": [self.names.len() as f64 - 0.4, -0.6], "showgrid": false},
        });
        (data.collect(), layout)
    }

    /// Every figure and its interval.
    pub(super) fn table(&self) -> Table {
        let mut table = Table::new(&["", "of", "figure", "low", "high"]);
        table.caption.clone_from(&self.x_title);
        for (at, row) in self.names.iter().enumerate() {
            for (name, estimates) in &self.series {
                let Some(e) = estimates.get(at).copied().flatten() else {
                    continue;
                };
                let end = |k: usize| Cell::Number(e.interval.map(|ends| ends[k]));
                table.rows.push(vec![
                    row.clone().into(),
                    name.clone().into(),
                    e.value.into(),
                    end(0),
                    end(1),
                ]);
            }
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_what_is_none_is_null() {
        assert_eq!(short(0.123_456_789), json!(0.123_46));
        assert_eq!(short(123_456.7), json!(123_457.0));
        assert_eq!(short(f64::INFINITY), Value::Null);
        assert_eq!(numbers(&[Some(1.0), None]), json!([1.0, null]));
    }

    #[test]
    fn tables_have_the_first_and_the_last_place() {
        assert_eq!(picked(1), [0]);
        assert!(picked(0).is_empty());
        let some = picked(1000);
        assert_eq!((some.len(), some[0], some[23]), (24, 0, 999));
    }

    #[test]
    fn a_mark_stands_where_its_figure_is() {
        let chart = Chart {
            x: Axis::log("ms"),
            traces: vec![Trace {
                x: vec![1.0, 1000.0],
                y: vec![Some(0.5), Some(1.0)],
                ..Trace::default()
            }],
            marks: vec![Mark {
                on_x: true,
                at: 100.0,
                label: "target".to_owned(),
            }],
            ..Chart::default()
        };
        let (_, layout) = chart.figure();
        assert_eq!(layout["shapes"][0]["x0"], 100.0);
        assert_eq!(layout["annotations"][0]["x"], 2.0);
    }
}
