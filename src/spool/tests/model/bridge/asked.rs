//! What a run asks of its bridge: as the socket, and as an operator.

use super::*;

impl Run {
    /// The socket is live again.
    pub(super) async fn up(&self) {
        if self.world.lock().truth.is_live() {
            return;
        }
        // It takes a moment.
        tokio::time::sleep(Duration::from_millis(2)).await;
        let now = self.clock.now();
        if self.bridge.spool.appender().gap_closed("main".into(), now).await.is_ok() {
            self.world.lock().truth.up(now.as_millisecond());
        }
    }

    /// The socket is lost: since it was last heard nothing is known.
    pub(super) async fn down(&self, reason: &str) {
        let heard_at = {
            let mut world = self.world.lock();
            if !world.truth.is_live() {
                return;
            }
            let now = self.clock.now().as_millisecond();
            world.truth.went_down(now)
        };
        let at = Timestamp::from_millisecond(heard_at).expect("within range").min(self.clock.now());
        let _ = self.bridge.spool.appender().gap_opened("main".into(), at, reason.into()).await;
    }

    /// Waits until all that was given is stored; where there is little room, an operator purges what nobody takes.
    pub(super) async fn make_room(&mut self) {
        let (began, mut looks) = (Instant::now(), 0_u32);
        while !self.flush().await {
            if !self.world.lock().scene.is_narrow() || began.elapsed() > PATIENCE {
                let rows = self.world.lock().rows.clone();
                self.world.lock().hold(Err(format!("what waits for room is never stored, beside {rows:?}")));
                return;
            }
            // Each purge is a row of the audit, which a little room does not have for many.
            looks += 1;
            if !looks.is_power_of_two() {
                continue;
            }
            for (number, name) in (0..).zip(NAMES) {
                let query = DeadQuery { destination: Some(name.to_owned()), limit: usize::MAX, ..DeadQuery::default() };
                self.erase(Erasure::Dead(query)).await;
                if !self.setups.contains_key(&number) {
                    self.erase(Erasure::Orphan { destination: name.into() }).await;
                }
            }
            self.erase(Erasure::Parked { until: self.clock.now() }).await;
        }
    }

    /// What went for want of room is counted, where no crash came between.
    pub(super) fn drops_are_counted(&self, world: &State) -> Result<(), String> {
        let count = |what| self.metrics.spool_dropped.get_or_create(&ByWhat { what }).get();
        let counted = count("dead") + count("parked");
        if world.starts == 1 && counted != world.dropped {
            return Err(format!("{} went for want of room, and {counted} are counted", world.dropped));
        }
        Ok(())
    }

    pub(super) async fn rekey(&mut self) {
        let who = self.operator();
        let Ok(done) = self.bridge.spool.rekey(&who, EventId(0), PATIENCE).await else { return };
        let mut world = self.world.lock();
        world.audited.push(who);
        world.count("rekeyings");
        let current = keys(self.key).current();
        let checked = whole::sealed_with(&world, current);
        if done.complete && done.unreadable == 0 {
            world.hold(checked);
        } else {
            world.hold(Err(format!("every key is there, and a rekeying came to {done:?}")));
        }
    }

    pub(super) async fn pause(&mut self, destination: u64, pause: Pause) {
        let (who, name) = (self.operator(), NAMES[destination as usize]);
        // A crash may come between the write and its answer.
        self.world.lock().paused.remove(name);
        if let Ok(true) = self.bridge.spool.pause(name, pause, &who).await {
            let mut world = self.world.lock();
            world.audited.push(who);
            if pause == Pause::On {
                world.paused.insert(name.to_owned(), Instant::now());
                world.count("pauses");
            }
        }
    }

    pub(super) async fn replay(&mut self, scope: Scope) {
        let who = self.operator();
        let request = Request { selection: Selection::all(scope), rate: None, who: who.clone().into() };
        let Ok(mut progress) = self.bridge.spool.replay(request).await else { return };
        while progress.borrow().stage == Stage::Running && progress.changed().await.is_ok() {}
        if progress.borrow().counts.replayed > 0 {
            self.world.lock().audited.push(who);
            self.world.lock().count("replays");
        }
    }

    pub(super) async fn erase(&mut self, what: Erasure) {
        let who = self.operator();
        if let Ok((erased, _)) = self.bridge.spool.erase(what, &who, PATIENCE).await {
            let mut world = self.world.lock();
            let there: Vec<String> = world.rows.destinations.values().map(|known| known.name.clone()).collect();
            world.paused.retain(|name, _| there.contains(name));
            world.audited.push(who);
            if erased.total() > 0 {
                world.count("purges");
            }
        }
    }

    pub(super) fn operator(&mut self) -> String {
        self.operators += 1;
        format!("operator {}", self.operators)
    }

    pub(super) async fn append(&self, n: usize) {
        self.up().await;
        let Given { kind, body, parked, .. } = {
            let mut world = self.world.lock();
            let now = self.clock.now().as_millisecond();
            world.given[n].at_ms = now;
            world.truth.heard(now);
            world.given[n].clone()
        };
        let received = Received {
            subscription: "main".into(),
            kind: kind.into(),
            event_ts: None,
            received_at: self.clock.now(),
            body,
            parked: parked.then_some("the frame is not JSON"),
        };
        if self.bridge.spool.appender().append(received).await.is_ok() {
            self.world.lock().appended.push(n);
        }
    }

    /// What was sent before is durable then: all of it is there, as itself or as a repeat. Tells whether that is so: not
    /// where there is no room.
    pub(super) async fn flush(&self) -> bool {
        match tokio::time::timeout(FLUSHED, self.bridge.spool.flush()).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return true,
            Err(_) => {
                let health = self.bridge.spool.news_of_health().borrow().clone();
                if health == Health::Writable {
                    self.world.lock().hold(Err("the spool is writable, and stores nothing".to_owned()));
                }
                return false;
            }
        }
        let mut world = self.world.lock();
        let checked = whole::stored(&world);
        world.hold(checked);
        let appended = world.appended.clone();
        world.durable.extend(appended);
        let checked = world.look.as_ref().map_or(Ok(()), |look| world.truth.check(look));
        world.hold(checked);
        true
    }
}
