//! Tests the bucket: it has the findings that are open, and a heartbeat while they are delivered.

use super::*;

#[test]
fn findings_of_an_earlier_boot_and_closed_findings_are_removed() -> Result<()> {
    let broker = Broker::start()?;
    let config = config(&broker.url());
    run(async {
        let open: Vec<Message> = ["a", "b", "c"].map(|id| message(id, true)).into();
        deliver_all(&mut sink(&config)?, &open).await?;
        let mut neighbour = NatsSink::open(&config, "lab", &host("node2", "boot"))?;
        deliver_all(&mut neighbour, &open).await?;
        let neighbours = ["lab.node2", "lab.node2.a", "lab.node2.b", "lab.node2.c"];

        // The same boot: its findings may still be open.
        let mut again = sink(&config)?;
        deliver_all(&mut again, &[message("d", true)]).await?;
        assert_eq!(again.retain(&ids(&["b", "d", "e"])).await?, ["e"]);
        assert_eq!(broker.keys(BUCKET).await?[..3], ["lab.node1", "lab.node1.b", "lab.node1.d"]);

        let mut rebooted = NatsSink::open(&config, "lab", &host("node1", "another boot"))?;
        rebooted.deliver(&[]).await;
        let keys = broker.keys(BUCKET).await?;
        assert_eq!(keys[0], "lab.node1");
        assert_eq!(keys[1..], neighbours);
        Ok(())
    })
}

#[test]
fn a_broker_that_lost_its_store_gets_the_open_findings_again_and_no_old_events() -> Result<()> {
    let mut broker = Broker::start()?;
    run(async {
        let config = config(&broker.url());
        let mut sink = sink(&config)?;
        let mut neighbour = NatsSink::open(&config, "lab", &host("node2", "boot"))?;
        let open = ["a", "b", "c"].map(|id| message(id, true));
        deliver_all(&mut sink, &open).await?;
        neighbour.deliver(&[]).await;
        assert!(sink.take_list_lost(), "it was new");
        assert!(!sink.take_list_lost() && !neighbour.take_list_lost());
        assert!(sink.retain(&ids(&["a", "b", "c"])).await?.is_empty());

        broker.wipe()?;
        deliver_all(&mut sink, &[message("d", true)]).await?;
        assert!(sink.take_list_lost(), "nobody noticed that the list is lost");
        let mut missing = sink.retain(&ids(&["a", "b", "c", "d"])).await?;
        missing.sort();
        assert_eq!(missing, ["a", "b", "c"]);
        // Another client has made it again.
        until_beaten(&mut neighbour).await?;
        assert!(neighbour.take_list_lost());

        let again = open.map(|mut it| {
            it.head.is_news = false;
            it
        });
        deliver_all(&mut sink, &again).await?;
        assert!(sink.retain(&ids(&["a", "b", "c", "d"])).await?.is_empty());
        assert_eq!(sink.retain(&ids(&["a", "c", "d"])).await?, [""; 0]);
        assert_eq!(
            broker.keys(BUCKET).await?,
            ["lab.node1", "lab.node1.a", "lab.node1.c", "lab.node1.d", "lab.node2"]
        );
        let stored = broker.stored(STREAM).await?;
        assert_eq!(stored.iter().map(|it| &it.id).collect::<Vec<_>>(), ["lab.node1.d-zombie-detected"]);
        assert!(!sink.take_list_lost());
        Ok(())
    })
}

/// Serves until a heartbeat has arrived.
async fn until_beaten(sink: &mut NatsSink) -> Result<()> {
    let deadline = Instant::now() + WAIT_LIMIT;
    loop {
        drop(timeout(Duration::from_secs(3), sink.serve()).await);
        if !sink.is_down() {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "no heartbeat after {WAIT_LIMIT:?}");
    }
}

#[test]
fn a_sink_that_cannot_send_events_sends_no_heartbeat() -> Result<()> {
    let broker = Broker::start()?;
    run(async {
        let mut sink = sink(&config(&broker.url()))?;
        deliver_all(&mut sink, &messages(1)).await?;
        assert!(!sink.is_down());
        let jetstream = broker.jetstream().await?;
        let stream = jetstream.get_stream(STREAM).await?;
        let mut full = stream.cached_info().config.clone();
        full.max_messages = 2;
        full.discard = async_nats::jetstream::stream::DiscardPolicy::New;
        jetstream.update_stream(&full).await?;

        let new = [message("new", true)];
        // A heartbeat may be due at the first attempt, when the sink does not know yet.
        fails_with(&mut sink, &new, "maximum messages exceeded").await?;
        let bucket = jetstream.get_key_value(BUCKET).await?;
        let last = async || {
            Ok::<_, anyhow::Error>(bucket.entry("lab.node1").await?.context("no heartbeat")?.revision)
        };
        let before = last().await?;
        let end = Instant::now() + Duration::from_millis(300) * 5;
        while Instant::now() < end {
            drop(timeout(Duration::from_millis(200), sink.serve()).await);
            fails_with(&mut sink, &new, "maximum messages exceeded").await?;
            assert!(sink.is_down());
        }
        assert_eq!(last().await?, before, "it says that it reports, and does not");
        // The bucket accepts the change that the stream refuses.
        assert!(broker.keys(BUCKET).await?.contains(&"lab.node1.new".to_owned()));

        full.max_messages = 3;
        jetstream.update_stream(&full).await?;
        assert_eq!(deliver_all(&mut sink, &new).await?, [""; 0]);
        assert!(!sink.is_down());
        assert!(last().await? > before, "it reports again");
        Ok(())
    })
}

/// One delivery that must fail, with an error that says this.
async fn fails_with(sink: &mut NatsSink, batch: &[Message], word: &str) -> Result<()> {
    let delivered = sink.deliver(batch).await;
    let error = delivered.error.context("no error")?.to_string();
    ensure!(delivered.count == 0 && error.contains(word), "{}: {error}", delivered.count);
    Ok(())
}

#[test]
fn values_are_written_again_before_the_bucket_drops_them() -> Result<()> {
    let broker = Broker::start()?;
    let mut config = config(&broker.url());
    config.keep = Time::from_secs(8);
    run(async {
        let mut sink = sink(&config)?;
        deliver_all(&mut sink, &[message("a", true), message("b", true), message("b", false)]).await?;
        let bucket = broker.jetstream().await?.get_key_value(BUCKET).await?;
        let deadline = Instant::now() + WAIT_LIMIT;
        // The mark of the closed finding is younger than the value of the open one. When the broker has removed the
        // mark, it would also have removed the value if the sink had not written that again.
        while bucket.stream.get_info().await?.state.messages > 2 {
            ensure!(Instant::now() < deadline, "the mark of the closed one stays");
            // The engine does the same: it drops `serve` whenever a batch arrives.
            drop(timeout(Duration::from_millis(700), sink.serve()).await);
        }
        assert_eq!(broker.keys(BUCKET).await?, ["lab.node1", "lab.node1.a"]);
        Ok(())
    })
}

#[test]
fn a_bucket_that_changes_meanwhile_is_read_completely_and_the_read_ends() -> Result<()> {
    let broker = Broker::start()?;
    run(async {
        deliver_all(&mut sink(&config(&broker.url()))?, &messages(5)).await?;
        let jetstream = broker.jetstream().await?;
        let writer = tokio::spawn(async move {
            // The same kind of writes as heartbeats and changes of findings.
            for number in (0..).map(|it| it % 5) {
                for key in ["lab.node1".to_owned(), format!("lab.node1.f{number}")] {
                    jetstream.publish(format!("$KV.{BUCKET}.{key}"), "x".into()).await?.await?;
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            }
            anyhow::Ok(())
        });
        let access = Access { servers: vec![broker.url()], ..Access::default() };
        let link = Link::open(&access, "test", ANSWER).await?;
        let stream = link.stream(&bucket_stream(BUCKET)).await?.context("no bucket")?;
        let keys = keys_of(BUCKET, None);
        for _ in 0..1000 {
            let mut seen = HashSet::new();
            let reading = link.snapshot(&stream, &keys, |entry| {
                seen.insert(entry.subject.to_owned());
                ControlFlow::Continue(())
            });
            timeout(WAIT_LIMIT, reading).await??;
            assert_eq!(seen.len(), 6);
        }
        ensure!(!writer.is_finished(), "nothing was written meanwhile");
        writer.abort();
        Ok(())
    })
}

/// A busy broker can read what an abandoned connection had sent, after the same from the next one.
#[test]
fn a_late_copy_of_an_opening_does_not_put_a_closed_finding_back() -> Result<()> {
    let broker = Broker::start()?;
    run(async {
        let messages = [message("late", true), message("late", false)];
        deliver_all(&mut sink(&config(&broker.url()))?, &messages).await?;
        let mut next = sink(&config(&broker.url()))?;
        deliver_all(&mut next, &messages[..1]).await?;
        deliver_all(&mut next, &[message("other", true)]).await?;
        assert_eq!(broker.stored(STREAM).await?.len(), 3);
        let keys = broker.keys(BUCKET).await?;
        let has = |finding: &str| keys.contains(&format!("lab.node1.{finding}"));
        ensure!(has("other") && !has("late"), "{keys:?}");
        Ok(())
    })
}
