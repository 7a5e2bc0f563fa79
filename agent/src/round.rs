//! One round of a pass: observe, plan, apply, for everything or for the part that a view changes.
//!
//! A change of one service costs as much on a node with ten thousand services as on one with ten:
//! the host is not looked at for it, and of the large maps only its own entries are read. What
//! others change behind our back is found when everything is read back.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::inputs::Inputs;
use crate::kernel::{ApplyError, Kernel};
use crate::numbers::Wanted;
use crate::pass::{Passes, ROUNDS_MAX, chain};
use crate::plans::{Action, Plans, Task};
use crate::reconcile::{LOOK_EVERY, Told};
use crate::scope::{Change, Partial, Settled};

/// Everything is read back at least this often.
const READ_BACK_MAX: Duration = Duration::from_secs(60);
/// It takes at most a hundredth of a CPU.
const READ_BACK_SHARE: u32 = 100;
/// A longer plan is logged as one line.
const LOGGED_MAX: usize = 32;

/// What rounds remember of each other.
#[derive(Default)]
pub(crate) struct Memory {
    /// `None`: everything has to be read and planned for.
    settled: Option<Settled>,
    /// The last reading of the host.
    seen: Option<(Arc<Kernel>, Instant)>,
    /// When everything is read back again.
    read_back_at: Option<Instant>,
    /// True if it is time: the next reading of the host is for everything.
    everything: bool,
}

impl Memory {
    /// Before a pass that looks at the host: is it time for everything?
    pub(crate) fn begin(&mut self) {
        self.everything |= self.read_back_at.is_none_or(|at| at <= Instant::now());
    }

    /// True if the host was looked at recently.
    pub(crate) fn has_looked(&self) -> bool {
        self.seen.as_ref().is_some_and(|(_, at)| at.elapsed() < LOOK_EVERY)
    }

    fn was_read_back(&mut self, took: Duration) {
        let pause = (took * READ_BACK_SHARE).clamp(LOOK_EVERY, READ_BACK_MAX);
        // The look that comes with the same period must not find itself a moment too early.
        self.read_back_at = Some(Instant::now() + pause - LOOK_EVERY / 10);
    }
}

/// What a round is about.
struct Round {
    inputs: Inputs,
    /// `None`: everything.
    part: Option<(Partial, Change)>,
    host: bool,
}

impl Round {
    fn wanted(&self) -> Wanted {
        self.part.as_ref().map_or_else(|| self.inputs.wanted(), |(part, _)| part.new.wanted())
    }
}

impl Passes {
    /// One observation, one plan, one execution; `None` if there was nothing left to do. `look` at
    /// the host even if the view asks for nothing there.
    pub(crate) async fn round(
        &mut self,
        told: &mut Told,
        look: bool,
    ) -> Result<Option<String>, String> {
        let began = Instant::now();
        let without_host = if look { None } else { self.round_without_host(told) };
        let (kernel, round) = match without_host {
            Some(found) => found,
            None => match self.round_with_host(told).await {
                Ok(found) => found,
                Err(error) => {
                    self.memory.settled = None;
                    return Err(error);
                }
            },
        };
        self.carry_out(told, &kernel, round, began).await
    }

    async fn carry_out(
        &mut self,
        told: &Told,
        kernel: &Kernel,
        round: Round,
        began: Instant,
    ) -> Result<Option<String>, String> {
        let outcome = self.try_to_carry_out(told, kernel, round, began).await;
        if outcome.is_err() {
            self.memory.settled = None;
        }
        outcome
    }

    async fn try_to_carry_out(
        &mut self,
        told: &Told,
        kernel: &Kernel,
        mut round: Round,
        began: Instant,
    ) -> Result<Option<String>, String> {
        let wanted = round.wanted();
        self.numbers.assign(kernel, &wanted).map_err(|e| chain(&e))?;
        self.give_numbers(&mut round);
        let task = Task {
            inputs: &round.inputs,
            part: round.part.as_ref().map(|(part, _)| part),
            host: round.host,
        };
        let plans = Plans::make(task, kernel, &self.placeholders).map_err(|e| chain(&e))?;
        if round.part.is_none() {
            self.memory.was_read_back(began.elapsed());
        }
        if plans.contested && round.part.is_some() {
            self.memory.settled = None;
            return Ok(Some("an address is claimed twice".to_owned()));
        }
        if round.host {
            self.tell_firewall(&round.inputs);
            self.mtu.send_replace(round.inputs.attachment_mtu());
        }
        let plans = if told.complete { plans } else { plans.without_removals() };
        if !plans.is_empty() {
            self.apply(kernel, &plans, round.part.is_none()).await?;
        }
        let rest = plans.first_unsettled().map(|action| format!("still to do: {action}"));
        if told.complete {
            self.settle(round, &wanted, &plans).map_err(|e| chain(&e))?;
        }
        Ok(rest)
    }

    /// Returns what the round is about if the view changes nothing of the host: it is as it was seen.
    fn round_without_host(&self, told: &Told) -> Option<(Arc<Kernel>, Round)> {
        let settled = self.memory.settled.as_ref()?;
        let change = settled.change(&told.view)?;
        let (kernel, _) = self.memory.seen.as_ref().filter(|_| !change.host)?;
        let inputs = self.inputs(told, kernel);
        let part = Some(&inputs)
            .filter(|inputs| settled.has_same_endpoints(inputs))
            .and_then(|inputs| settled.partial(inputs, &change))?;
        let round = Round { inputs, part: Some((part, change)), host: false };
        Some((Arc::clone(kernel), round))
    }

    /// Reads the host and finds what the round is about.
    async fn round_with_host(&mut self, told: &mut Told) -> Result<(Arc<Kernel>, Round), String> {
        let kernel = Arc::new(self.read_host(told).await?);
        if let Some(newest) = self.newer_than(told) {
            *told = newest;
        }
        self.memory.seen = Some((Arc::clone(&kernel), Instant::now()));
        let mut inputs = self.inputs(told, &kernel);
        self.underlay.follow(&self.netlink, &inputs).await;
        inputs.ways = Arc::clone(self.underlay.ways());
        let everything = std::mem::take(&mut self.memory.everything);
        let settled = self.memory.settled.as_ref().filter(|_| !everything);
        let part = settled.and_then(|settled| {
            let change = settled.change(&told.view)?;
            settled.partial(&inputs, &change).map(|part| (part, change))
        });
        Ok((kernel, Round { inputs, part, host: true }))
    }

    pub(crate) async fn read_host(&mut self, told: &mut Told) -> Result<Kernel, String> {
        let (netlink, plane) = (Arc::clone(&self.netlink), self.loaded().await?);
        let reading = async move { Kernel::read(&netlink, &plane).await };
        self.beside(told, reading).await.map_err(|error| chain(&error))
    }

    /// Waits for work at the host, and follows meanwhile the views that need none: while containers
    /// come and go, every call about devices waits for the kernel's one lock, half a second at times.
    pub(crate) async fn beside<T>(
        &mut self,
        told: &mut Told,
        work: impl Future<Output = T> + Send,
    ) -> T {
        let mut newer = self.feed.told.clone();
        let mut work = pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                Ok(()) = newer.changed() => {
                    newer.mark_unchanged();
                    self.follow_meanwhile(told).await;
                }
            }
        }
    }

    async fn follow_meanwhile(&mut self, told: &mut Told) {
        let Some(newest) = self.newer_than(told) else { return };
        for _ in 0..ROUNDS_MAX {
            let Some((kernel, round)) = self.round_without_host(&newest) else { return };
            *told = newest.clone();
            match self.carry_out(told, &kernel, round, Instant::now()).await {
                Ok(None) => return self.tell_wired(told),
                Ok(Some(_)) => {}
                // The pass that this is beside plans for everything then, and says what fails.
                Err(_) => return,
            }
        }
    }

    fn newer_than(&self, told: &Told) -> Option<Told> {
        let newest = self.feed.told.borrow().clone();
        newest.filter(|newest| newest.generation > told.generation)
    }

    fn give_numbers(&self, round: &mut Round) {
        let numbers = self.numbers.read();
        if let Some((part, _)) = &mut round.part {
            part.new.numbers = Arc::clone(&numbers);
            part.old.numbers = Arc::clone(&numbers);
        }
        round.inputs.numbers = numbers;
    }

    /// Remembers what the maps hold now, and forgets the numbers of what they hold no more.
    fn settle(&mut self, round: Round, wanted: &Wanted, plans: &Plans) -> Result<(), ApplyError> {
        let Round { mut inputs, part, .. } = round;
        inputs.numbers = Arc::default();
        let Some((part, change)) = part else {
            if plans.is_empty() {
                self.numbers.forget_unwanted(wanted, plans)?;
            }
            self.memory.settled = (!plans.contested).then(|| Settled::new(inputs));
            return Ok(());
        };
        let gone = part.old.wanted().without(wanted);
        drop(part);
        if let Some(settled) = &mut self.memory.settled {
            settled.advance(inputs, &change);
        }
        self.numbers.forget(&gone)
    }

    /// Setting up goes on after a failure: one broken item must not hold up the others.
    async fn apply(&mut self, kernel: &Kernel, plans: &Plans, all: bool) -> Result<(), String> {
        let last = self.numbers.read().highest_service();
        if all {
            self.writer.read_again();
        }
        let mut failures = Vec::new();
        let long = plans.len() > LOGGED_MAX;
        for step in plans.steps() {
            let done = step
                .apply(kernel, &mut self.writer, &mut self.placeholders, &self.journal, last)
                .await;
            match done {
                Ok(()) if long => tracing::debug!(%step, "applied"),
                Ok(()) => tracing::info!(%step, "applied"),
                Err(error @ ApplyError::PortTaken { .. }) => self.warn_once(&step, &error),
                Err(error) => failures.push(format!("{step}: {}", chain(&error))),
            }
        }
        if long {
            tracing::info!(changes = plans.len(), "applied");
        }
        if plans.in_order().any(Action::strands_sockets) {
            self.backends_left.notify_one();
        }
        failures.into_iter().next().map_or(Ok(()), Err)
    }

    /// Returns what a pass would do now, without doing it.
    ///
    /// # Errors
    /// Something could not be read.
    pub async fn pending(&mut self, told: &Told) -> Result<Vec<String>, String> {
        let plane = self.loaded().await?;
        let kernel = Kernel::read(&self.netlink, &plane).await.map_err(|e| chain(&e))?;
        let mut inputs = self.inputs(told, &kernel);
        inputs.numbers = self.numbers.read();
        let task = Task { inputs: &inputs, part: None, host: true };
        let plans = Plans::make(task, &kernel, &self.placeholders).map_err(|e| chain(&e))?;
        Ok(plans.in_order().map(ToString::to_string).collect())
    }

    pub(crate) fn inputs(&self, told: &Told, kernel: &Kernel) -> Inputs {
        Inputs {
            node_id: told.node_id.clone(),
            view: Arc::clone(&told.view),
            journal: self.journal.read(),
            pool: self.pool,
            snapshot: Arc::clone(&kernel.snapshot),
            cookies: Arc::clone(&self.cookies),
            host_cookie: self.host_cookie,
            numbers: Arc::default(),
            has_cgroup2: self.cgroup.is_some(),
            ways: Arc::clone(self.underlay.ways()),
        }
    }
}
