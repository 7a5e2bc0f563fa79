//! The plans of the four subsystems, and their common order.

use std::fmt;

use crate::balancer::apply::Writer;
use crate::ingress::placeholder::Placeholders;
use crate::inputs::Inputs;
use crate::kernel::{ApplyError, Kernel};
use crate::plugin::journal::JournalFile;
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

/// What one round would do, and what it has found.
#[derive(Debug)]
pub struct Plans {
    actions: Vec<Action>,
    pub balancer: balancer::State,
}

impl Plans {
    /// Observes the kernel and plans for all subsystems.
    ///
    /// # Errors
    /// Something could not be read.
    pub fn make(
        inputs: &Inputs,
        kernel: &Kernel,
        placeholders: &Placeholders,
    ) -> Result<Self, ApplyError> {
        let numbers = &inputs.numbers;
        let nodes = numbers.nodes.values().max().copied().unwrap_or_default();
        let sandboxes = sandbox::observe::observe(kernel)?;
        let overlays = overlay::observe::observe(kernel, nodes)?;
        let balancer = balancer::observe::observe(kernel, numbers.highest_service())?;
        let ports =
            ingress::observe::observe(kernel, placeholders.held(), &inputs.journal.reserved_ports)?;
        let now_s = swarmnet_ebpf::conntrack::now_s();
        let mut actions = Vec::new();
        let plan = sandbox::plan::plan(&sandbox::desired::desired(inputs), &sandboxes);
        actions.extend(plan.into_iter().map(Action::Sandbox));
        let plan = overlay::plan::plan(&overlay::desired::desired(inputs), &overlays, now_s);
        actions.extend(plan.into_iter().map(Action::Overlay));
        let plan = balancer::plan::plan(&balancer::desired::desired(inputs), &balancer);
        actions.extend(plan.into_iter().map(Action::Balancer));
        let plan = ingress::plan::plan(&ingress::desired::desired(inputs), &ports);
        actions.extend(plan.into_iter().map(Action::Ingress));
        Ok(Self { actions, balancer })
    }

    pub fn is_empty(&self) -> bool {
        self.actions.is_empty()
    }

    /// Returns the first change but placeholders, which another program may keep from us.
    pub fn first_unsettled(&self) -> Option<&Action> {
        let hold = |a: &Action| matches!(a, Action::Ingress(ingress::plan::Action::Hold(_)));
        self.actions.iter().find(|action| !hold(action))
    }

    /// Leaves out removals: nothing is removed from ignorance.
    pub fn without_removals(mut self) -> Self {
        self.actions.retain(|action| !action.is_removal());
        self
    }

    /// Additions from the inside out, then removals from the outside in.
    pub fn in_order(&self) -> Vec<Action> {
        let (removals, additions): (Vec<_>, Vec<_>) =
            self.actions.iter().cloned().partition(Action::is_removal);
        additions.into_iter().chain(removals.into_iter().rev()).collect()
    }
}
