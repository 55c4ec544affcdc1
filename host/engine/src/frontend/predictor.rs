//! A predictor of output lengths, as a serving system could have one.

use crate::forecast::ForecastError;
use rand_distr::{Distribution, StandardNormal};
use std::str::FromStr;
use windtunnel_base::input::InputError;
use windtunnel_base::request::{Request, Symbols};
use windtunnel_base::rng::{fnv1a64, stream};

/// Predicts the true output length, wrong by a log-normal factor. How wrong can differ by SLO
/// class: answers of some kinds are harder to foresee, and predictors lean to one side.
#[derive(Clone, Debug, PartialEq)]
pub struct Predictor {
    /// For classes that have none of their own.
    pub error: ForecastError,
    /// By SLO class.
    pub by_class: Vec<(String, ForecastError)>,
}

impl Predictor {
    /// Always right.
    pub const EXACT: Self = Self {
        error: ForecastError::NONE,
        by_class: Vec::new(),
    };
}

impl FromStr for Predictor {
    type Err = InputError;

    /// Reads `exact`, `lognormal:SIGMA[:BIAS]`, or a list of these with classes:
    /// `lognormal:0.4,batch=lognormal:0.6:0.8`.
    fn from_str(text: &str) -> Result<Self, InputError> {
        let wrong = |message: String| InputError::new(format!("the output predictor: {message}"));
        let (mut error, mut by_class) = (None, Vec::<(String, ForecastError)>::new());
        for part in text.split(',') {
            let (class, given) = match part.split_once('=') {
                Some((class, given)) => (Some(class.trim()), given.trim()),
                None => (None, part.trim()),
            };
            let given: ForecastError = given.parse().map_err(|e: InputError| {
                wrong(format!(
                    "{}; classes are given as CLASS=lognormal:SIGMA[:BIAS], between commas",
                    e.message()
                ))
            })?;
            match class {
                Some("") => return Err(wrong(format!("\"{part}\" names no class"))),
                Some(class) if by_class.iter().any(|(known, _)| known == class) => {
                    return Err(wrong(format!("class {class} is there twice")));
                }
                Some(class) => by_class.push((class.to_owned(), given)),
                None if error.is_some() => {
                    return Err(wrong(format!("\"{part}\" is the second without a class")));
                }
                None => error = Some(given),
            }
        }
        let Some(error) = error else {
            return Err(wrong(format!(
                "\"{text}\" says nothing of other classes; expected one part without a class"
            )));
        };
        Ok(Self { error, by_class })
    }
}

impl Predictor {
    /// The prediction for `request`, at least 1 token. Its error depends on the seed, the
    /// request's class and its name alone.
    #[must_use]
    pub fn predict(&self, seed: u64, request: &Request, symbols: &Symbols) -> u32 {
        let truth = f64::from(request.output_tokens());
        let error = if self.by_class.is_empty() {
            self.error
        } else {
            let class = symbols.name(request.slo_class);
            let own = self.by_class.iter().find(|(known, _)| known == class);
            own.map_or(self.error, |(_, error)| *error)
        };
        if error.sigma == 0.0 {
            return ((truth * error.bias).round() as u32).max(1);
        }
        let name = fnv1a64(&request.id.to_string());
        let z: f64 = StandardNormal.sample(&mut stream(seed, "output predictor", name, 0));
        ((truth * error.factor(z)).round() as u32).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use windtunnel_base::request::{RequestId, TokenSeq};

    #[test]
    fn classes_have_errors_of_their_own() {
        let predictor: Predictor = "lognormal:0,batch=lognormal:0:0.5, chat=lognormal:1"
            .parse()
            .unwrap();
        let mut symbols = Symbols::default();
        let of = |class: &str, symbols: &mut Symbols| {
            let answer = TokenSeq::of(1, 100);
            let mut request = Request::new(RequestId::Number(3), 0, TokenSeq::of(0, 10), answer);
            request.slo_class = symbols.intern(class);
            predictor.predict(1, &request, symbols)
        };
        assert_eq!(of("", &mut symbols), 100);
        assert_eq!(of("batch", &mut symbols), 50);
        assert_ne!(of("chat", &mut symbols), 100);
    }

    #[test]
    fn mistakes_in_a_predictor_are_named() {
        for (text, part) in [
            ("batch=exact", "says nothing of other classes"),
            ("exact,lognormal:1", "second without a class"),
            ("exact,a=exact,a=exact", "class a is there twice"),
            ("exact,=exact", "names no class"),
            ("exact,a=guess", "found \"guess\""),
        ] {
            let error = text.parse::<Predictor>().unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
