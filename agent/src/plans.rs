//! The plans of the four subsystems, and their common order.

use std::fmt;

use swarmnet_ebpf::abi::{Backend, Ep, EpKey};
use swarmnet_ebpf::map::{Backends, Eps};

use crate::balancer::apply::Writer;
use crate::edit::Edit;
use crate::ingress::placeholder::Placeholders;
use crate::inputs::Inputs;
use crate::kernel::{ApplyError, Kernel};
use crate::plugin::journal::JournalFile;
use crate::scope::{Extent, Keys, Partial};
use crate::{balancer, ingress, overlay, sandbox};

/// One change of any subsystem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    Sandbox(sandbox::plan::Action),
    Overlay(overlay::plan::Action),
    Balancer(balancer::plan::Action),
    Ingress(ingress::plan::Action),
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sandbox(action) => write!(f, "sandbox: {action}"),
            Self::Overlay(action) => write!(f, "overlay: {action}"),
            Self::Balancer(action) => write!(f, "balancer: {action}"),
            Self::Ingress(action) => write!(f, "ingress: {action}"),
        }
    }
}

impl Action {
    fn is_removal(&self) -> bool {
        match self {
            Self::Sandbox(action) => action.is_removal(),
            Self::Overlay(action) => action.is_removal(),
            Self::Balancer(action) => action.is_removal(),
            Self::Ingress(action) => action.is_removal(),
        }
    }

    /// True if connected sockets may lead nowhere after it.
    pub fn strands_sockets(&self) -> bool {
        matches!(self, Self::Balancer(action) if action.strands_sockets())
    }

    /// Does it.
    ///
    /// # Errors
    /// The kernel refused; the next pass plans from what is there then.
    pub async fn apply(
        &self,
        kernel: &Kernel,
        writer: &mut Writer,
        placeholders: &mut Placeholders,
        journal: &JournalFile,
        last_service: u32,
    ) -> Result<(), ApplyError> {
        match self {
            Self::Sandbox(action) => sandbox::apply::apply(kernel, action).await,
            Self::Overlay(action) => overlay::apply::apply(kernel, action).await,
            Self::Balancer(action) => writer.apply(kernel, action, last_service),
            Self::Ingress(action) => {
                ingress::apply::apply(kernel, placeholders, journal, action).await
            }
        }
    }
}

/// What a round works from.
#[derive(Clone, Copy)]
pub struct Task<'a> {
    pub inputs: &'a Inputs,
    /// `None`: everything.
    pub part: Option<&'a Partial>,
    /// False if devices, ports and settings are as the last round left them.
    pub host: bool,
}

/// What one round would do, and what it has found.
#[derive(Debug)]
pub struct Plans {
    actions: Vec<Action>,
    pub balancer: balancer::State,
    /// True if an address is claimed twice: then only a plan for everything is right.
    pub contested: bool,
}

/// Changes that are written together.
pub enum Step<'a> {
    One(&'a Action),
    Endpoints(Vec<(EpKey, Ep)>),
    Backends(Vec<(u32, Backend)>),
}

/// Entries written at a time: the runtime's thread is not held for longer than a few milliseconds.
const STEP_MAX: usize = 4_096;

impl Plans {
    /// Observes the kernel and plans for all subsystems.
    ///
    /// # Errors
    /// Something could not be read.
    pub fn make(
        task: Task<'_>,
        kernel: &Kernel,
        placeholders: &Placeholders,
    ) -> Result<Self, ApplyError> {
        let mut actions = Vec::new();
        if task.host {
            let plan = sandbox::plan::plan(
                &sandbox::desired::desired(task.inputs),
                &sandbox::observe::observe(kernel)?,
            );
            actions.extend(plan.into_iter().map(Action::Sandbox));
        }
        let (balancer, contested) = Self::entries(task, kernel, &mut actions)?;
        if task.host {
            let reserved = &task.inputs.journal.reserved_ports;
            let ports = ingress::observe::observe(kernel, placeholders.held(), reserved)?;
            let plan = ingress::plan::plan(&ingress::desired::desired(task.inputs), &ports);
            actions.extend(plan.into_iter().map(Action::Ingress));
        }
        Ok(Self { actions, balancer, contested })
    }

    /// Plans for addresses, services and backends, for everything or for the part.
    fn entries(
        task: Task<'_>,
        kernel: &Kernel,
        actions: &mut Vec<Action>,
    ) -> Result<(balancer::State, bool), ApplyError> {
        let inputs = task.part.map_or(task.inputs, |part| &part.new);
        // Devices, peers and networks are as the last round left them, and as many as there are nodes.
        let desired =
            if task.host { overlay::desired::desired } else { overlay::desired::addresses };
        let addresses = desired(inputs);
        let services = balancer::desired::desired(inputs);
        let mut before = Keys::default();
        let extent = match task.part {
            None => Extent::Everything,
            Some(Partial { old, .. }) => {
                let old_addresses = overlay::desired::addresses(old);
                before.add(&old_addresses, &balancer::desired::desired(old));
                let mut keys = before.clone();
                keys.add(&addresses, &services);
                Extent::Keys(keys)
            }
        };
        let numbers = &inputs.numbers;
        let overlays = if task.host {
            let nodes = numbers.nodes.values().max().copied().unwrap_or_default();
            overlay::observe::observe(kernel, nodes, &extent)?
        } else {
            overlay::observe::addresses(kernel, &extent)?
        };
        let balancer = balancer::observe::observe(kernel, numbers.highest_service(), &extent)?;
        let contested = match extent {
            Extent::Everything => overlay::desired::is_contested(inputs),
            // Somebody outside the part has it.
            Extent::Keys(_) => overlays.eps.keys().any(|key| !before.eps.contains(key)),
        };
        let now_s = swarmnet_ebpf::conntrack::now_s();
        let plan = overlay::plan::plan(&addresses, &overlays, now_s);
        actions.extend(plan.into_iter().map(Action::Overlay));
        let plan = balancer::plan::plan(&services, &balancer);
        actions.extend(plan.into_iter().map(Action::Balancer));
        Ok((balancer, contested))
    }

    pub fn is_empty(&self) -> bool {
        self.actions.is_empty()
    }

    pub fn len(&self) -> usize {
        self.actions.len()
    }

    /// Returns the first change but placeholders, which another program may keep from us.
    pub fn first_unsettled(&self) -> Option<&Action> {
        let hold = |a: &Action| matches!(a, Action::Ingress(ingress::plan::Action::Hold(_)));
        self.actions.iter().find(|action| !hold(action))
    }

    /// Leaves out removals: nothing is removed from ignorance.
    #[must_use]
    pub fn without_removals(mut self) -> Self {
        self.actions.retain(|action| !action.is_removal());
        self
    }

    /// Additions from the inside out, then removals from the outside in.
    pub fn in_order(&self) -> impl Iterator<Item = &Action> {
        let additions = self.actions.iter().filter(|action| !action.is_removal());
        let removals = self.actions.iter().rev().filter(|action| action.is_removal());
        additions.chain(removals)
    }

    /// The same order, with neighbours that one call can write put together.
    pub fn steps(&self) -> Vec<Step<'_>> {
        let mut steps: Vec<Step<'_>> = Vec::new();
        for action in self.in_order() {
            match (action, steps.last_mut()) {
                (
                    Action::Overlay(overlay::plan::Action::Endpoint(key, ep)),
                    Some(Step::Endpoints(many)),
                ) if many.len() < STEP_MAX => many.push((*key, *ep)),
                (Action::Overlay(overlay::plan::Action::Endpoint(key, ep)), _) => {
                    steps.push(Step::Endpoints(vec![(*key, *ep)]));
                }
                (
                    Action::Balancer(balancer::plan::Action::Backend(Edit::Set(id, backend))),
                    Some(Step::Backends(many)),
                ) if many.len() < STEP_MAX => many.push((*id, *backend)),
                (Action::Balancer(balancer::plan::Action::Backend(Edit::Set(id, backend))), _) => {
                    steps.push(Step::Backends(vec![(*id, *backend)]));
                }
                (action, _) => steps.push(Step::One(action)),
            }
        }
        steps
    }
}

impl Step<'_> {
    /// Does it; of many, those that the map has room for.
    ///
    /// # Errors
    /// The kernel refused; the next pass plans from what is there then.
    pub async fn apply(
        &self,
        kernel: &Kernel,
        writer: &mut Writer,
        placeholders: &mut Placeholders,
        journal: &JournalFile,
        last_service: u32,
    ) -> Result<(), ApplyError> {
        match self {
            Self::One(action) => {
                action.apply(kernel, writer, placeholders, journal, last_service).await
            }
            Self::Endpoints(many) => Ok(kernel.maps.set_many::<Eps>(many.iter().copied())?),
            Self::Backends(many) => Ok(kernel.maps.set_many::<Backends>(many.iter().copied())?),
        }
    }
}

impl fmt::Display for Step<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(action) => action.fmt(f),
            Self::Endpoints(many) => write!(f, "overlay: {} endpoints set", many.len()),
            Self::Backends(many) => write!(f, "balancer: {} backends set", many.len()),
        }
    }
}
