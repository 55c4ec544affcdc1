//! Admission and routing by script.

use super::asked::AskedColumn;
use super::bind::{FrontLayout, REQUEST};
use super::binding::{Binding, position, read_f64s, write_f64, write_request};
use super::engines::ScriptEngines;
use super::module::Module;
use super::program::Program;
use crate::param::Hook;
use mlua::Function;
use std::sync::Arc;
use windtunnel_base::input::InputError;
use windtunnel_plugin_api::{
    Admission, Admit, ClusterView, Disaggregation, Event, InstanceView, Interests, List,
    PolicyError, RequestView, Route, Router,
};

/// What admission and routing have in common.
pub(super) struct FrontEndHook {
    pub(super) binding: Binding,
    pub(super) layout: FrontLayout,
    decide: Function,
    tick: Option<Function>,
    /// Values of the instances' fields as the script's tables have them, field by field.
    sent: Vec<f64>,
    /// For [`changed_since`](windtunnel_plugin_api::Host::changed_since).
    seen: u64,
    /// Scratch: positions of instances that may have changed.
    changed: Vec<u32>,
    /// A field that is another at every scrape is among those it reads.
    always_changes: bool,
    /// The script's tables of instances, and the numbers of instances that they have as `index`.
    tables: mlua::Table,
    numbers: Vec<u32>,
    /// The script reads columns: they are always sent whole, with the answers to what it asks.
    columns: Option<AskedColumn>,
}

impl FrontEndHook {
    pub(super) fn new(module: &Module, hook: Hook, entry: &str) -> Result<Self, InputError> {
        let vm = &module.vm;
        let layout = FrontLayout::new(&vm.program.mentions, vm.facts.instances);
        let n = vm.facts.instances as usize;
        let binding = Binding::new(module, module.hook_functions(hook)?, layout.size, 8 * n)?;
        let decide = binding.entry(entry).ok_or_else(|| {
            InputError::in_file(&binding.vm.program.name, format!("fills no {hook}"))
        })?;
        Ok(Self {
            tick: (binding.tick_us > 0)
                .then(|| binding.entry("tick"))
                .flatten(),
            columns: (binding.form == "route_columns")
                .then(|| AskedColumn::new(vm.facts.instances)),
            tables: binding
                .entries
                .raw_get("instances")
                .map_err(|e| InputError::in_file(&binding.vm.program.name, e.to_string()))?,
            numbers: (0..vm.facts.instances).collect(),
            seen: 0,
            changed: vec![0; n],
            always_changes: vm
                .program
                .mentions
                .instance
                .iter()
                .any(|field| field.name == "scraped_us"),
            sent: vec![0.0; n * vm.program.mentions.instance.len()],
            layout,
            decide,
            binding,
        })
    }

    pub(super) fn interests(&self) -> Interests {
        let reads = self.binding.vm.program.mentions.reads;
        reads.without(Interests::RUNNING) | self.binding.event_interests()
    }

    /// Sends the views that the script reads, instances only where they have changed.
    fn send(&mut self, request: &RequestView, cluster: &ClusterView<'_>) {
        let mentions = &self.binding.vm.program.mentions;
        let bytes = &mut self.binding.bytes;
        write_f64(bytes, 0, cluster.now_us as f64);
        write_request(bytes, REQUEST, &mentions.request, request);
        write_f64(bytes, 16, cluster.instances.len() as f64);
        let mut rows = 0;
        if !mentions.instance.is_empty() && !cluster.instances.is_empty() {
            let known = if self.always_changes {
                None
            } else {
                let host = &cluster.host;
                host.changed_since(&mut self.seen, &mut self.changed)
            };
            if known.is_none() {
                let all = self.changed.iter_mut().zip(0..);
                all.for_each(|(position, i)| *position = i);
            }
            let changed = known.unwrap_or(self.changed.len());
            for k in 0..changed {
                let i = self.changed[k];
                if let Some(view) = cluster.instances.get(i as usize) {
                    rows += usize::from(self.send_instance(rows, i as usize, view));
                }
            }
        }
        let bytes = &mut self.binding.bytes;
        write_f64(bytes, 8, rows as f64);
        let mut end = self.layout.rows + rows * self.layout.row;
        let mentions = &self.binding.vm.program.mentions;
        if let Some(answers) = &mut self.columns {
            // All of them: the script may have written into them.
            end = self.layout.size;
            for (k, asked) in mentions.asked.iter().enumerate() {
                let at = self.layout.asked(k);
                let column = answers.of(&cluster.host, asked);
                bytes[at..at + column.len()].copy_from_slice(column);
            }
        }
        self.binding.inbox.write_bytes(0, &bytes[..end]);
    }

    /// Puts an instance into row `row`, or into the columns, if a field is not what it was.
    fn send_instance(&mut self, row: usize, i: usize, view: &InstanceView) -> bool {
        let binding = &mut self.binding;
        let fields = &binding.vm.program.mentions.instance;
        let n = binding.vm.facts.instances as usize;
        let mut changed = false;
        for (k, field) in fields.iter().enumerate() {
            let value = (field.get)(view);
            let sent = &mut self.sent[k * n + i];
            changed |= value != *sent;
            *sent = value;
        }
        if !changed {
            return false;
        }
        let layout = &self.layout;
        let in_row = layout.rows + row * layout.row;
        if self.columns.is_none() {
            write_f64(&mut binding.bytes, in_row, i as f64);
        }
        for k in 0..fields.len() {
            let at = match self.columns {
                Some(_) => layout.columns + 8 * (k * n + i),
                None => in_row + 8 * (k + 1),
            };
            write_f64(&mut binding.bytes, at, self.sent[k * n + i]);
        }
        true
    }

    /// Gives the script's tables the numbers of the instances that are shown. Where not all are,
    /// those of a stage, so that the first and the last tell which.
    fn number(&mut self, instances: &List<'_, InstanceView>) -> mlua::Result<()> {
        let n = instances.len();
        let same = |i: usize| instances.get(i).is_none_or(|v| self.numbers[i] == v.index);
        if n == 0 || n > self.numbers.len() || (same(0) && same(n - 1)) {
            return Ok(());
        }
        for (i, view) in instances.iter().enumerate() {
            let table: mlua::Table = self.tables.raw_get(i + 1)?;
            table.raw_set("index", f64::from(view.index) + 1.0)?;
            self.numbers[i] = view.index;
        }
        Ok(())
    }

    pub(super) fn call(
        &mut self,
        request: &RequestView,
        cluster: &ClusterView<'_>,
    ) -> Result<f64, PolicyError> {
        let numbered = self.number(&cluster.instances);
        numbered.map_err(|e| PolicyError::new(e.to_string()))?;
        self.send(request, cluster);
        self.binding
            .call(&self.decide, cluster.host, cluster.instances)
    }

    fn tick(&mut self, cluster: &ClusterView<'_>) -> Result<(), PolicyError> {
        self.send(&RequestView::default(), cluster);
        match &self.tick {
            Some(tick) => self
                .binding
                .call(tick, cluster.host, cluster.instances)
                .map(|_| ()),
            None => Ok(()),
        }
    }
}

/// What the binding adds to a position that comes with scores.
const SCORED: f64 = 0.5;

/// Bytes of a rejection's reason that are kept: every decision of a traced run has one.
const LONGEST_REASON: usize = 200;

struct ScriptedAdmission(FrontEndHook);

impl Admission for ScriptedAdmission {
    fn interests(&self) -> Interests {
        self.0.interests()
    }

    fn tick_us(&self) -> i64 {
        self.0.binding.tick_us
    }

    fn admit(
        &mut self,
        request: &RequestView,
        cluster: &ClusterView<'_>,
    ) -> Result<Admit, PolicyError> {
        let verdict = self.0.call(request, cluster)?;
        let binding = &self.0.binding;
        if verdict < 0.0 {
            return Ok(Admit::Delay(-verdict as i64));
        }
        match verdict {
            1.0 => Ok(Admit::Admit),
            0.0 => Ok(Admit::Reject("rejected".into())),
            2.0 => {
                let reason = binding.vm.shared.raw_get::<mlua::LuaString>("reason");
                Ok(Admit::Reject(reason.map_or(String::new(), |r| {
                    let bytes = r.as_bytes();
                    String::from_utf8_lossy(&bytes[..bytes.len().min(LONGEST_REASON)]).into_owned()
                })))
            }
            3.0 => Err(binding.bad_answer("admit, as the reason,", "a text")),
            _ => {
                Err(binding
                    .bad_answer("admit", "true, false with a reason, or delay(microseconds)"))
            }
        }
    }

    fn on_event(&mut self, event: &Event) -> Result<(), PolicyError> {
        self.0.binding.send_event(event)
    }

    fn on_tick(&mut self, cluster: &ClusterView<'_>) -> Result<(), PolicyError> {
        self.0.tick(cluster)
    }
}

struct ScriptedRouter {
    hook: FrontEndHook,
    /// The last decision came with scores.
    scored: bool,
    scores: Vec<f64>,
}

impl Router for ScriptedRouter {
    fn interests(&self) -> Interests {
        self.hook.interests()
    }

    fn tick_us(&self) -> i64 {
        self.hook.binding.tick_us
    }

    fn route(
        &mut self,
        request: &RequestView,
        cluster: &ClusterView<'_>,
    ) -> Result<Route, PolicyError> {
        let n = cluster.instances.len();
        let answer = self.hook.call(request, cluster)?;
        let binding = &self.hook.binding;
        self.scored = answer > 0.0 && answer.fract() == SCORED;
        let at = if self.scored { answer - SCORED } else { answer };
        if let Some(chosen) = position(at, n) {
            if self.scored {
                self.scores.resize(n, 0.0);
                read_f64s(&binding.outbox, &mut self.scores);
            }
            return Ok(Route::To(chosen));
        }
        if at < 0.0 {
            return Ok(Route::Hold {
                retry_after_us: -at as i64,
            });
        }
        let form = binding.form;
        if form == "score" {
            let what = format!("score for instance {}", binding.bad_answer_at());
            return Err(binding.bad_answer(&what, "a number"));
        }
        let expected = format!("a position from 1 to {n}, or hold(microseconds)");
        Err(if at.is_nan() {
            binding.bad_answer(form, &expected)
        } else {
            binding.unexpected(form, &at.to_string(), &expected)
        })
    }

    fn scores(&self) -> Option<&[f64]> {
        self.scored.then_some(&self.scores)
    }

    fn reason(&self) -> String {
        self.hook.binding.vm.program.name.clone()
    }

    fn on_event(&mut self, event: &Event) -> Result<(), PolicyError> {
        self.hook.binding.send_event(event)
    }

    fn on_tick(&mut self, cluster: &ClusterView<'_>) -> Result<(), PolicyError> {
        self.hook.tick(cluster)
    }
}

struct ScriptedDisaggregation(FrontEndHook);

impl Disaggregation for ScriptedDisaggregation {
    fn interests(&self) -> Interests {
        self.0.interests()
    }

    fn prefills_remotely(
        &mut self,
        request: &RequestView,
        decode: usize,
        cluster: &ClusterView<'_>,
    ) -> Result<bool, PolicyError> {
        let shared = &self.0.binding.vm.shared;
        let told = shared.raw_set("decode", decode as f64 + 1.0);
        told.map_err(|e| PolicyError::new(e.to_string()))?;
        let answer = self.0.call(request, cluster)?;
        let binding = &self.0.binding;
        match answer {
            1.0 => Ok(true),
            0.0 => Ok(false),
            _ => Err(binding.bad_answer("disaggregate", "true or false")),
        }
    }

    fn on_event(&mut self, event: &Event) -> Result<(), PolicyError> {
        self.0.binding.send_event(event)
    }
}

impl ScriptEngines {
    /// The program's disaggregation policy.
    ///
    /// # Errors
    /// When the file does not run or fills no such hook.
    pub fn disaggregation(
        &mut self,
        program: &Arc<Program>,
        symbols: &mut dyn FnMut(&str) -> u32,
    ) -> Result<Box<dyn Disaggregation>, InputError> {
        let module = self.module(program, None, symbols)?;
        let hook = FrontEndHook::new(&module, Hook::Disaggregation, "disaggregate")?;
        Ok(Box::new(ScriptedDisaggregation(hook)))
    }

    /// The program's admission policy.
    ///
    /// # Errors
    /// When the file does not run or fills no admission hook.
    pub fn admission(
        &mut self,
        program: &Arc<Program>,
        symbols: &mut dyn FnMut(&str) -> u32,
    ) -> Result<Box<dyn Admission>, InputError> {
        let module = self.module(program, None, symbols)?;
        let hook = FrontEndHook::new(&module, Hook::Admission, "admit")?;
        Ok(Box::new(ScriptedAdmission(hook)))
    }

    /// The program's router: beside its admission policy at the front end (`None`), or at another
    /// place.
    ///
    /// # Errors
    /// When the file does not run or fills no routing hook.
    pub fn router(
        &mut self,
        program: &Arc<Program>,
        place: Option<u32>,
        symbols: &mut dyn FnMut(&str) -> u32,
    ) -> Result<Box<dyn Router>, InputError> {
        let module = self.module(program, place, symbols)?;
        Ok(Box::new(ScriptedRouter {
            hook: FrontEndHook::new(&module, Hook::Routing, "route")?,
            scored: false,
            scores: Vec::new(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::Facts;
    use windtunnel_plugin_api::{AdapterSignal, Host, Services};

    fn router(code: &str, instances: u32) -> Box<dyn Router> {
        let facts = Facts {
            instances,
            slots: 1,
            highest_priority: 4,
            known_names: 0,
        };
        let program = Program::new("p.lua", code.into(), &[], false).expect("fine");
        ScriptEngines::new(facts)
            .router(&Arc::new(program), None, &mut |_| 0)
            .expect("a router")
    }

    /// All forms find the instances as they are, whichever of them changed, and whether the host
    /// says which did.
    #[test]
    fn every_form_sees_what_changed() {
        let least = "local function least(insts)
                local best = 1
                for i, inst in ipairs(insts) do
                    local load = inst.queue_depth + inst.batch_size
                    if load < insts[best].queue_depth + insts[best].batch_size then best = i end
                end
                return best
            end
            ";
        let forms = [
            "return { route = function(req, insts) return least(insts) end }",
            "return { route = function(req, insts, cluster) return least(cluster.instances) end }",
            "return { route_columns = function(req, columns, n, cluster) return least(cluster.instances) end }",
            "return { score = function(req, inst) return -inst.queue_depth - inst.batch_size end }",
            "local Q, B = column('queue_depth'), column('batch_size')
             return { route_columns = function(req, columns, n)
                 local best, low = 0, math.huge
                 for i = 1, n do
                     local at = 8 * (i - 1)
                     local load = buffer.readf64(columns, Q + at) + buffer.readf64(columns, B + at)
                     if load < low then best, low = i, load end
                     buffer.writef64(columns, Q + at, 1e9)
                 end
                 return best
             end }",
        ];
        let n = 7;
        let mut routers = forms.map(|form| router(&format!("{least}{form}"), n));
        let mut views = vec![InstanceView::default(); n as usize];
        let mut noise = 5u64;
        for _ in 0..200 {
            noise = noise.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(1);
            let i = (noise >> 33) as usize % views.len();
            views[i].queue_depth = (noise >> 40) as u32 % 50;
            views[i].batch_size = (noise >> 50) as u32 % 50;
            let load = |view: &InstanceView| view.queue_depth + view.batch_size;
            let best = (0..views.len()).min_by_key(|&i| load(&views[i]));
            for router in &mut routers {
                let cluster = ClusterView::bare(0, &views);
                let routed = router.route(&RequestView::default(), &cluster);
                assert_eq!(routed, Ok(Route::To(best.expect("some"))));
            }
        }
    }

    /// The adapter of every request is on the second instance, and requests with it are anywhere.
    struct Adapters;

    impl Services for Adapters {
        fn adapter_signal(&self, signal: AdapterSignal, out: &mut [u32]) {
            for (i, value) in out.iter_mut().enumerate() {
                *value = match signal {
                    AdapterSignal::Loaded => u32::from(i == 1),
                    AdapterSignal::Running => [0, 5, 7, 6][i],
                    AdapterSignal::Waiting => [9, 1, 2, 3][i],
                };
            }
        }
    }

    #[test]
    fn every_form_can_ask_about_the_adapter_of_a_request() {
        let first = "local function first(insts, is)
                for i, inst in ipairs(insts) do if is(inst) then return i end end
            end
            ";
        let services: &dyn Services = &Adapters;
        let views = vec![InstanceView::default(); 4];
        let cluster = ClusterView {
            now_us: 0,
            instances: List::new(&views),
            host: Host::new(&services),
        };
        for (form, chosen) in [
            (
                "return { route = function(req, insts)
                    return first(insts, function(inst) return inst:adapter_loaded() == true end)
                end }",
                1,
            ),
            (
                "return { route = function(req, insts)
                    return first(insts, function(inst) return not inst:adapter_loaded() end)
                end }",
                0,
            ),
            (
                "return { score = function(req, inst)
                    return inst:adapter_running() - 2 * inst:adapter_waiting()
                end }",
                1,
            ),
            (
                "local W, L = column('adapter_waiting'), column('adapter_loaded')
                 return { route_columns = function(req, columns, n, cluster)
                    for i = 1, n do
                        local at = 8 * (i - 1)
                        local loaded = buffer.readf64(columns, L + at)
                        if cluster.instances[i]:adapter_loaded() ~= (loaded == 1) then error('other') end
                        if buffer.readf64(columns, W + at) == 3 then return i end
                    end
                end }",
                3,
            ),
        ] {
            let mut router = router(&format!("{first}{form}"), 4);
            assert!(router.interests().has(Interests::ADAPTERS), "{form}");
            for _ in 0..2 {
                let routed = router.route(&RequestView::default(), &cluster);
                assert_eq!(routed, Ok(Route::To(chosen)), "{form}");
            }
        }
        let blind = router("return { score = function(req, inst) return 1 end }", 4);
        assert!(!blind.interests().has(Interests::ADAPTERS));
    }
}
