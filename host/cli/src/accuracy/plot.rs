//! Parity plots: what was simulated over what was measured, on logarithmic axes.

use super::look::mark;
use std::fmt::Write;
use windtunnel_base::input::in_html;
use windtunnel_results::page::three_digits;

/// Width and height of a plot, and of the space around its area.
const SIZE: f64 = 340.0;
const LEFT: f64 = 58.0;
const RIGHT: f64 = 10.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 40.0;
/// The band around the diagonal.
const BAND: f64 = 0.1;

/// A case in a plot.
#[derive(Clone, Debug)]
pub(super) struct Point {
    /// Its number among all cases of the page.
    pub item: usize,
    /// Which value of the stratum it has that the page shows first.
    pub value: usize,
    /// What it is.
    pub name: String,
    /// On the server.
    pub measured: f64,
    /// In the simulation.
    pub simulated: f64,
}

impl Point {
    fn error(&self) -> f64 {
        100.0 * (self.simulated / self.measured - 1.0)
    }

    fn can_be_shown(&self) -> bool {
        let both = [self.measured, self.simulated];
        both.iter().all(|x| x.is_finite() && *x > 0.0)
    }
}

/// Both axes: the same, so that the diagonal is where both figures are.
#[derive(Clone, Copy, Debug)]
struct Axis {
    low: f64,
    high: f64,
}

impl Axis {
    fn of(points: &[Point]) -> Self {
        let all = || points.iter().flat_map(|p| [p.measured, p.simulated]);
        let (low, high) = (all().fold(f64::MAX, f64::min), all().fold(0.0, f64::max));
        // A little space on both sides, and at least a factor of two in all.
        let wider = (2.0 / (high / low)).sqrt().max(1.12);
        Self {
            low: low / wider,
            high: high * wider,
        }
    }

    /// 0 to 1 along the axis.
    fn share(self, value: f64) -> f64 {
        (value / self.low).ln() / (self.high / self.low).ln()
    }

    /// Round figures on it: at most a dozen.
    fn ticks(self) -> Vec<f64> {
        let decades = (self.low.log10().floor() as i32)..=(self.high.log10().ceil() as i32);
        let within = |steps: &[f64]| {
            let all = decades
                .clone()
                .flat_map(|k| steps.iter().map(move |s| s * 10f64.powi(k)));
            all.filter(|x| (self.low..=self.high).contains(x))
                .collect::<Vec<f64>>()
        };
        let from_the_finest = [
            &[1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0][..],
            &[1.0, 2.0, 5.0],
            &[1.0],
        ];
        let ticks = from_the_finest.map(within);
        let few = ticks.iter().find(|ticks| ticks.len() <= 7);
        few.unwrap_or(&ticks[2]).clone()
    }

    fn x(self, value: f64) -> f64 {
        LEFT + (SIZE - LEFT - RIGHT) * self.share(value)
    }

    fn y(self, value: f64) -> f64 {
        SIZE - BOTTOM - (SIZE - TOP - BOTTOM) * self.share(value)
    }
}

/// The plot of a figure with its caption; nothing without points. `id` is unlike that of all other
/// plots of the page.
pub(super) fn parity(id: &str, title: &str, unit: &str, points: Vec<Point>) -> String {
    let points: Vec<Point> = points.into_iter().filter(Point::can_be_shown).collect();
    if points.is_empty() {
        return String::new();
    }
    let axis = Axis::of(&points);
    let mut errors: Vec<f64> = points.iter().map(|p| p.error().abs()).collect();
    errors.sort_by(f64::total_cmp);
    let middle = (errors[(errors.len() - 1) / 2] + errors[errors.len() / 2]) / 2.0;
    let near = errors.iter().filter(|e| **e <= 100.0 * BAND).count();
    let told = format!(
        "{} of {} within 10 %, median error {middle:.1} %",
        near,
        points.len()
    );
    let title = in_html(title);
    let mut svg = format!(
        "<figure>\n<figcaption>{title}, {unit}<span>{told}</span></figcaption>\n<svg viewBox=\"0 0 {SIZE} {SIZE}\" \
         role=\"img\" aria-label=\"{title}, simulated over measured: {told}; the table of cases has the figures\">\n"
    );
    frame(&mut svg, id, axis, unit);
    for point in &points {
        let (shape, colour) = mark(point.value);
        let _ = writeln!(
            svg,
            "<use href=\"#s{shape}\" class=\"mark c{colour}\" data-k=\"{}\" x=\"{:.1}\" y=\"{:.1}\"><title>{}: simulated \
             {}, measured {} {unit}, {:+.1} %</title></use>",
            point.item,
            axis.x(point.measured),
            axis.y(point.simulated),
            in_html(&point.name),
            three_digits(point.simulated),
            three_digits(point.measured),
            point.error(),
        );
    }
    svg + "</svg>\n</figure>\n"
}

/// Axes, the diagonal and the band around it.
fn frame(svg: &mut String, id: &str, axis: Axis, unit: &str) {
    let (width, height) = (SIZE - LEFT - RIGHT, SIZE - TOP - BOTTOM);
    let (right, bottom) = (SIZE - RIGHT, SIZE - BOTTOM);
    for tick in axis.ticks() {
        let (x, y, text) = (axis.x(tick), axis.y(tick), three_digits(tick));
        let _ = writeln!(
            svg,
            "<path class=\"grid\" d=\"M{x:.1} {TOP}V{bottom}M{LEFT} {y:.1}H{right}\"/>\
             <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{text}</text>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{text}</text>",
            bottom + 14.0,
            LEFT - 5.0,
            y + 4.0,
        );
    }
    let Axis { low, high } = axis;
    // Lines of a constant ratio are parallels of the diagonal; the area cuts them off.
    let line = |ratio: f64| {
        let [a, b] = [low, high].map(|x| (axis.x(x), axis.y(ratio * x)));
        format!("{:.1} {:.1}L{:.1} {:.1}", a.0, a.1, b.0, b.1)
    };
    let (above, below) = (line(1.0 + BAND), line(1.0 - BAND));
    let back: Vec<&str> = below.split('L').collect();
    let _ = write!(
        svg,
        "<clipPath id=\"{id}\"><rect x=\"{LEFT}\" y=\"{TOP}\" width=\"{width}\" height=\"{height}\"/></clipPath>\n\
         <g clip-path=\"url(#{id})\"><path class=\"band\" d=\"M{above}L{}L{}Z\"/><path class=\"edge\" \
         d=\"M{above}M{below}\"/><path class=\"same\" d=\"M{}\"/></g>\n\
         <rect class=\"area\" x=\"{LEFT}\" y=\"{TOP}\" width=\"{width}\" height=\"{height}\"/>\n",
        back[1],
        back[0],
        line(1.0),
    );
    let _ = writeln!(
        svg,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">measured, {unit}</text>\
         <text transform=\"translate(12 {:.1}) rotate(-90)\" text-anchor=\"middle\">simulated, {unit}</text>",
        LEFT + width / 2.0,
        SIZE - 6.0,
        TOP + height / 2.0,
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(measured: f64, simulated: f64) -> Point {
        Point {
            item: 7,
            value: 9,
            name: "a<b>".to_owned(),
            measured,
            simulated,
        }
    }

    #[test]
    fn equal_figures_are_on_the_diagonal_and_errors_off_it() {
        let svg = parity(
            "p",
            "TTFT",
            "ms",
            vec![point(10.0, 10.0), point(1000.0, 1200.0)],
        );
        let places: Vec<(f64, f64)> = svg
            .lines()
            .filter(|line| line.starts_with("<use"))
            .map(|line| {
                let of = |key: &str| {
                    let (_, rest) = line.split_once(&format!(" {key}=\"")).unwrap();
                    rest.split_once('"').unwrap().0.parse::<f64>().unwrap()
                };
                (of("x") - LEFT, SIZE - BOTTOM - of("y"))
            })
            .collect();
        // The area is not quite a square.
        let steep = (SIZE - TOP - BOTTOM) / (SIZE - LEFT - RIGHT);
        assert!(
            (places[0].1 - steep * places[0].0).abs() < 0.2,
            "{places:?}"
        );
        assert!(places[1].1 > steep * places[1].0 + 5.0, "{places:?}");
        assert!(
            svg.contains("1 of 2 within 10 %, median error 10.0 %"),
            "{svg}"
        );
        assert!(svg.contains("a&lt;b&gt;: simulated 1200, measured 1000 ms, +20.0 %"));
        assert!(
            svg.contains("#s1\" class=\"mark c2\" data-k=\"7\""),
            "{svg}"
        );
    }

    #[test]
    fn what_has_no_logarithm_is_left_out() {
        assert_eq!(parity("p", "TTFT", "ms", vec![point(0.0, 1.0)]), "");
        assert_eq!(parity("p", "TTFT", "ms", vec![point(1.0, f64::NAN)]), "");
        let svg = parity("p", "TTFT", "ms", vec![point(3.0, 3.0)]);
        assert!(!svg.contains("NaN") && svg.contains("median error 0.0 %"));
    }

    #[test]
    fn axes_have_a_few_round_figures() {
        for (low, high) in [(5.0, 12.0), (90.0, 95.0), (0.2, 7000.0), (1e-3, 1e6)] {
            let ticks = Axis::of(&[point(low, high)]).ticks();
            assert!((2..=12).contains(&ticks.len()), "{low} {high}: {ticks:?}");
        }
        let shown = [0.05, 1234.0, 0.5, 20.0, 3.25, 0.0].map(three_digits);
        assert_eq!(shown, ["0.05", "1234", "0.5", "20", "3.25", "0"]);
    }
}
