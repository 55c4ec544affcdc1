//! Functions of Python as policies of a run.

use pyo3::exceptions::{PyAttributeError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyInt, PyString};
use std::sync::{Arc, Mutex, PoisonError};
use windtunnel_policy::{Custom, Hook};
use windtunnel_sim::plugin_api::{
    Admission, Admit, ClusterView, InstanceView, Interests, Kind, PolicyError, RequestView, Route,
    Router, Table,
};

/// A function for a hook.
pub struct Function {
    pub hook: Hook,
    pub name: String,
    pub function: Py<PyAny>,
}

/// What a function raised first.
#[derive(Clone, Default)]
pub struct Raised(Arc<Mutex<Option<PyErr>>>);

impl Raised {
    /// What was raised, if anything was.
    pub fn take(&self) -> Option<PyErr> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Keeps an exception, and says it in one line.
    fn keep(&self, py: Python<'_>, error: PyErr) -> PolicyError {
        let value = error.value(py);
        let kind = value.get_type().name().map(|name| name.to_string());
        let line = format!("{}: {value}", kind.unwrap_or_default());
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert(error);
        PolicyError::new(line)
    }
}

impl Function {
    /// The policy of the run; `raised` learns what the function raises.
    pub fn policy(self, raised: &Raised) -> Custom {
        let function = Arc::new(self.function);
        let raised = raised.clone();
        let make = move || Asked {
            function: Arc::clone(&function),
            raised: raised.clone(),
        };
        match self.hook {
            Hook::Admission => Custom::admission(&self.name, move |_| make()),
            _ => Custom::routing(&self.name, move |_| make()),
        }
    }
}

/// A function that is asked for every decision.
struct Asked {
    function: Arc<Py<PyAny>>,
    raised: Raised,
}

/// Everything but events: a function is called for decisions alone.
const READS: Interests =
    Interests(Interests::ALL.without(Interests::LIFECYCLE).0 & !Interests::TOKENS.0);

impl Asked {
    fn ask<R>(
        &self,
        request: &RequestView,
        cluster: &ClusterView<'_>,
        understand: impl FnOnce(&Bound<'_, PyAny>) -> PyResult<R>,
    ) -> Result<R, PolicyError> {
        Python::attach(|py| {
            let answer = || {
                let seen = Cluster::of(py, cluster)?;
                let answer = self.function.bind(py).call1((Request(*request), seen))?;
                understand(&answer)
            };
            answer().map_err(|error| self.raised.keep(py, error))
        })
    }
}

impl Router for Asked {
    fn interests(&self) -> Interests {
        READS
    }

    fn route(
        &mut self,
        request: &RequestView,
        cluster: &ClusterView<'_>,
    ) -> Result<Route, PolicyError> {
        self.ask(request, cluster, |answer| {
            if answer.is_instance_of::<PyInt>() && !answer.is_instance_of::<PyBool>() {
                return Ok(Route::To(answer.extract()?));
            }
            if let Ok(instance) = answer.cast::<Instance>() {
                return Ok(Route::To(instance.get().position));
            }
            Err(expected(
                answer,
                "the position of an instance in cluster.instances, or one of them",
            ))
        })
    }
}

impl Admission for Asked {
    fn interests(&self) -> Interests {
        READS
    }

    fn admit(
        &mut self,
        request: &RequestView,
        cluster: &ClusterView<'_>,
    ) -> Result<Admit, PolicyError> {
        self.ask(request, cluster, |answer| {
            if let Ok(yes) = answer.cast::<PyBool>() {
                return Ok(match yes.is_true() {
                    true => Admit::Admit,
                    false => Admit::Reject(String::new()),
                });
            }
            if answer.is_instance_of::<PyString>() {
                return Ok(Admit::Reject(answer.extract()?));
            }
            Err(expected(
                answer,
                "True, False, or a text that says why the request is rejected",
            ))
        })
    }
}

fn expected(found: &Bound<'_, PyAny>, what: &str) -> PyErr {
    let found = found.repr().map(|text| text.to_string());
    PyTypeError::new_err(format!(
        "the policy returned {}; expected {what}",
        found.unwrap_or_default()
    ))
}

/// The field of a view by its name.
fn field<'py, T: Table<Get = fn(&T) -> f64> + 'static>(
    py: Python<'py>,
    view: &T,
    name: &str,
) -> PyResult<Bound<'py, PyAny>> {
    let Some(field) = T::FIELDS.iter().find(|field| field.name == name) else {
        let names: Vec<&str> = names::<T>();
        let message = windtunnel_base::input::unknown("field", name, &names);
        return Err(PyAttributeError::new_err(message));
    };
    let value = (field.get)(view);
    Ok(match field.kind {
        Kind::F64 => value.into_pyobject(py)?.into_any(),
        Kind::U32 | Kind::I32 | Kind::U64 | Kind::I64 => {
            (value as i64).into_pyobject(py)?.into_any()
        }
    })
}

fn names<T: Table>() -> Vec<&'static str> {
    let fields = T::FIELDS.iter().map(|field| field.name);
    fields.filter(|name| *name != "reserved").collect()
}

fn shown<T: Table<Get = fn(&T) -> f64> + 'static>(kind: &str, view: &T) -> String {
    let fields = T::FIELDS.iter().filter(|field| field.name != "reserved");
    let fields: Vec<String> = fields
        .map(|field| format!("{}={}", field.name, (field.get)(view)))
        .collect();
    format!("<{kind} {}>", fields.join(" "))
}

/// A request as a policy sees it.
#[pyclass(frozen)]
pub struct Request(RequestView);

#[pymethods]
impl Request {
    fn __getattr__<'py>(&self, py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
        match name {
            // All of its 64 bits count.
            "prompt_key" => Ok(self.0.prompt_key.into_pyobject(py)?.into_any()),
            _ => field(py, &self.0, name),
        }
    }

    #[staticmethod]
    fn fields() -> Vec<&'static str> {
        names::<RequestView>()
    }

    fn __dir__(&self) -> Vec<&'static str> {
        Self::fields()
    }

    fn __repr__(&self) -> String {
        shown("Request", &self.0)
    }
}

/// An instance as a policy sees it.
#[pyclass(frozen)]
pub struct Instance {
    view: InstanceView,
    /// Among those that can be chosen.
    position: usize,
    prefix_blocks: u32,
}

#[pymethods]
impl Instance {
    /// Position among the instances that can be chosen.
    #[getter]
    fn position(&self) -> usize {
        self.position
    }

    /// Leading prompt blocks of the request that its prefix cache holds.
    #[getter]
    fn prefix_blocks(&self) -> u32 {
        self.prefix_blocks
    }

    fn __getattr__<'py>(&self, py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
        field(py, &self.view, name)
    }

    #[staticmethod]
    fn fields() -> Vec<&'static str> {
        names::<InstanceView>()
    }

    fn __dir__(&self) -> Vec<&'static str> {
        let own = ["position", "prefix_blocks"];
        own.into_iter().chain(Self::fields()).collect()
    }

    fn __repr__(&self) -> String {
        shown("Instance", &self.view)
    }
}

/// The cluster at the moment of a decision.
#[pyclass(frozen)]
pub struct Cluster {
    /// Now, microseconds.
    #[pyo3(get)]
    now_us: i64,
    /// The instances that can be chosen.
    #[pyo3(get)]
    instances: Vec<Py<Instance>>,
}

impl Cluster {
    fn of(py: Python<'_>, cluster: &ClusterView<'_>) -> PyResult<Self> {
        let mut blocks = vec![0; cluster.instances.len()];
        cluster.host.prefix_blocks(true, &mut blocks);
        let seen = cluster.instances.iter().zip(blocks).enumerate();
        let instances = seen.map(|(position, (view, prefix_blocks))| {
            let instance = Instance {
                view: *view,
                position,
                prefix_blocks,
            };
            Py::new(py, instance)
        });
        Ok(Self {
            now_us: cluster.now_us,
            instances: instances.collect::<PyResult<_>>()?,
        })
    }
}
