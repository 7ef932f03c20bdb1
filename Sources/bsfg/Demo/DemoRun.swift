internal import Gateway
internal import Glibc
internal import RPC

/// The story: facts flow, the sender dies, the link is cut, the receiver dies, and at the end every
/// acknowledged fact is there once.
struct DemoRun: Sendable {
    struct Result: Sendable {
        var counts = DemoProducer.Counts()
        var firstRefusal: String?
        var proof: DemoProof
        var drilled: UInt64
        var redelivered: UInt64
        var kills: Int
        var linkCuts: Int
        var seconds: Double
        var holds: Bool { proof.holds && redelivered > 0 }
    }

    private static let cutSeconds = 3.0
    private static let attemptsMaximum = 8

    let site: TwoZoneSite
    let screen: DemoScreen
    let producer: DemoProducer
    let input: String
    let source: ZoneNode
    let receiver: ZoneNode
    let relay: OwnProcess
    let scene: DemoScene

    init(
        site: TwoZoneSite, screen: DemoScreen, producer: DemoProducer, input: String
    ) {
        self.site = site
        self.screen = screen
        self.producer = producer
        self.input = input
        source = ZoneNode(TwoZoneSite.source, site)
        receiver = ZoneNode(TwoZoneSite.receiver, site)
        relay = OwnProcess(
            name: "relay",
            arguments: [
                "relay", "--listen", "127.0.0.1:\(site.relayPort)", "--connect",
                "127.0.0.1:\(site.sourcePort)", "--delay", String(TwoZoneSite.linkMilliseconds),
            ], log: site.log("relay"))
        scene = DemoScene(
            screen: screen, producer: producer, source: source, receiver: receiver)
    }

    func run() async throws -> Result {
        try await begin()
        let scene = scene
        let painter = Task { await scene.paint() }
        defer { painter.cancel() }
        let story = try await withThrowingTaskGroup(of: Story?.self) { group in
            group.addTask {
                try await producer.run()
                return nil
            }
            group.addTask { try await tell() }
            var story: Story?
            while let ended = try await group.next() {
                if let ended { story = ended }
            }
            return story!
        }
        try await drain()
        let (drilled, redelivered) = try await drill()
        painter.cancel()
        await painter.value
        await screen.settle()
        let proof = try await DemoProof(
            acknowledged: await producer.acknowledged, source: source, receiver: receiver
        ) { _ in }
        await screen.stage(
            proof.holds ? .done : .failed,
            "proof: both logs read from end to end, ids and digests computed anew from the bytes")
        return Result(
            counts: await producer.counts, firstRefusal: await producer.firstRefusal, proof: proof,
            drilled: drilled, redelivered: redelivered, kills: story.kills,
            linkCuts: story.linkCuts, seconds: await screen.elapsed)
    }

    private struct Story: Sendable {
        var kills = 0
        var linkCuts = 0
    }

    // MARK: - Begin

    private func begin() async throws {
        await screen.stage(
            .done, "a certificate authority, four certificates and two configurations")
        async let first: Void = source.start()
        async let second: Void = receiver.start()
        _ = try await (first, second)
        await screen.stage(
            .done,
            "plant-a (process \(await source.process.pid)) and enterprise (process "
                + "\(await receiver.process.pid)) serve, mutual TLS 1.3")
        try await relay.start()
        try await untilPulling("enterprise did not reach plant-a over the link")
        await screen.stage(
            .done,
            "enterprise pulls \(TwoZoneSite.stream) through a relay (process \(await relay.pid)) that "
                + "takes \(TwoZoneSite.linkMilliseconds) ms each way")
        let counts = await producer.counts
        await screen.stage(
            .step, "\(DemoText.count(counts.rows, "row")) of \(input) begin to flow as facts")
    }

    private func untilPulling(_ failure: String, seconds: Double = 30) async throws {
        try await Pacing.wait(seconds: seconds, failure) {
            guard let view = await receiver.view() else { return false }
            if let blocked = view.blocked {
                throw CommandFailure(.failure, "enterprise's pull is blocked: \(blocked)")
            }
            return view.isPulling
        }
    }

    // MARK: - Faults

    private func tell() async throws -> Story {
        var story = Story()
        await producer.hold(at: 0.4)
        try await untilSent(0.2)
        story.kills += try await killSource()
        await producer.hold(at: 0.75)
        try await untilSent(0.45)
        try await cutLink()
        story.linkCuts += 1
        await producer.hold(at: 0.95)
        try await untilSent(0.75)
        story.kills += try await killReceiver()
        await producer.hold(at: 1)
        return story
    }

    private func untilSent(_ share: Double) async throws {
        try await Pacing.wait(seconds: 300, "the producer got stuck") {
            let counts = await producer.counts
            return Double(counts.acknowledged + counts.invalid + counts.repeated)
                >= share * Double(counts.rows)
        }
    }

    /// Kills the sending node while appends are in flight and the receiver has fetched more than is
    /// confirmed. Whether both were so is looked up afterwards; when not, it is done once more.
    private func killSource() async throws -> Int {
        for attempt in 1...DemoRun.attemptsMaximum {
            // Its confirm takes the link's time twice; the burst is in flight before it is back.
            try await untilUnconfirmed()
            let before = await producer.counts
            await producer.burst()
            try await Pacing.wait(
                seconds: 60, everyMilliseconds: 1, "no append was in flight to be interrupted"
            ) {
                let counts = await producer.counts
                return counts.inFlight >= DemoProducer.inFlightMaximum / 4
                    || counts.sent == counts.rows
            }
            await source.process.killNow()
            await scene.set { $0.isSourceUp = false }
            await Pacing.pause(milliseconds: 300)
            let cut = await producer.counts.unknown - before.unknown
            let view = await receiver.view() ?? ZoneNode.View()
            await screen.stage(
                .fault,
                "kill -9 plant-a: \(DemoText.count(cut, "fact")) in flight to it; enterprise has "
                    + "\(view.position), of which \(view.confirmed) are confirmed")
            await Pacing.pause(milliseconds: 500)
            try await source.start()
            await scene.set { $0.isSourceUp = true }
            try await untilPulling("enterprise did not come back to plant-a")
            try await untilConfirmed(view.position)
            let counts = await producer.counts
            await screen.stage(
                .done,
                "plant-a is back from its log; of \(counts.unknown) facts sent again with the same "
                    + "ids \(counts.recognised) were there already")
            if cut > 0, view.position > view.confirmed { return attempt }
        }
        throw CommandFailure(
            .failure, "plant-a was never killed with appends in flight and facts unconfirmed")
    }

    /// Kills the receiving node between commit and confirm: it has more on its disk than the sender
    /// knows of.
    private func killReceiver() async throws -> Int {
        for attempt in 1...DemoRun.attemptsMaximum {
            await producer.burst()
            let position = try await untilUnconfirmed()
            await receiver.process.killNow()
            await scene.set { $0.isReceiverUp = false }
            // What the relay still carried has come to its end.
            await Pacing.pause(milliseconds: 300)
            guard let cursor = await source.view()?.cursor else {
                throw CommandFailure(.failure, "plant-a does not answer")
            }
            let isFlowing = await producer.counts.inFlight > 0
            await screen.stage(
                .fault,
                "kill -9 enterprise: plant-a knows \(cursor) facts to be confirmed"
                    + (isFlowing ? "; appends go on" : ""))
            await Pacing.pause(milliseconds: 500)
            try await receiver.start()
            await scene.set { $0.isReceiverUp = true }
            let recovered = try receiver.recoveredForwardHead()
            try await untilPulling("enterprise did not go on after its restart")
            try await untilConfirmed(recovered)
            await screen.stage(
                .done,
                "enterprise is back with \(recovered) in its log, confirmed them and goes on"
                    + (recovered > cursor ? ": \(recovered - cursor) were past their commit" : ""))
            guard recovered >= position else {
                throw CommandFailure(
                    .failure, "enterprise lost \(position - recovered) records that were durable")
            }
            if recovered > cursor { return attempt }
        }
        throw CommandFailure(
            .failure, "enterprise was never killed between a commit and its confirm")
    }

    /// Waits until the receiver has just made more durable than is confirmed, and says how much.
    @discardableResult
    private func untilUnconfirmed() async throws -> UInt64 {
        var found: UInt64 = 0
        var last: UInt64?
        var bursts = 0
        var polls = 0
        try await Pacing.wait(
            seconds: 120, everyMilliseconds: 1, "the receiver never had anything unconfirmed"
        ) {
            polls += 1
            if polls % 200 == 0, bursts < 20 {
                bursts += 1
                await producer.burst()
            }
            guard let view = await receiver.view() else { return false }
            defer { last = view.position }
            // A step since the last look: its confirm is at most on its way.
            guard let last, view.position > last, view.position > view.confirmed else {
                return false
            }
            found = view.position
            return true
        }
        return found
    }

    private func untilConfirmed(_ offset: UInt64) async throws {
        try await Pacing.wait(seconds: 300, "what the receiver has was not confirmed again") {
            await source.view()?.cursor ?? 0 >= offset
        }
    }

    /// Stops the relay: silence first, then what it carried is lost.
    private func cutLink() async throws {
        let before = await producer.counts
        let began = Pacing.seconds()
        await relay.freeze()
        await scene.set { $0.isLinkUp = false }
        await screen.stage(.fault, "the link is cut: nothing passes, nobody is told")
        await Pacing.pause(milliseconds: Int(DemoRun.cutSeconds * 500))
        await producer.burst()
        await Pacing.pause(milliseconds: Int(DemoRun.cutSeconds * 500))
        let meanwhile = await producer.counts.acknowledged - before.acknowledged
        await relay.killNow()
        try await relay.start()
        await scene.set { $0.isLinkUp = true }
        await screen.stage(
            .done,
            "the link is back after \(DemoText.decimal(Pacing.seconds() - began, 1)) s; plant-a "
                + "took \(DemoText.count(meanwhile, "fact")) meanwhile")
        guard meanwhile > 0 else {
            throw CommandFailure(.failure, "no fact was acknowledged while the link was cut")
        }
        try await untilPulling("enterprise did not come back over the link")
    }

    // MARK: - End

    private func drain() async throws {
        let head = UInt64(await producer.acknowledged.count)
        try await Pacing.wait(seconds: 300, "the receiver did not catch up") {
            guard let to = await receiver.view(), let from = await source.view() else {
                return false
            }
            return to.position >= from.storeHead && from.cursor >= from.storeHead
                && from.storeHead >= head
        }
        await screen.stage(.done, "drained: everything acknowledged is confirmed by enterprise")
    }

    /// Fetches again from below the position, over the same path as everything else.
    private func drill() async throws -> (drilled: UInt64, redelivered: UInt64) {
        guard let before = await receiver.view() else {
            throw CommandFailure(.failure, "enterprise does not answer")
        }
        let count = max(1, min(before.position, max(100, before.position / 5)))
        var request = Bsfg_Admin_V1_RedeliverRequest()
        request.peer = TwoZoneSite.source
        request.stream = TwoZoneSite.stream
        request.origin = TwoZoneSite.source
        request.count = count
        do {
            _ = try await receiver.admin.redeliver(request)
        } catch {
            throw CommandFailure(.failure, "the duplicate drill could not begin: \(error)")
        }
        try await Pacing.wait(seconds: 300, "the drill delivered less than was asked for") {
            guard let view = await receiver.view() else { return false }
            return view.redelivered - before.redelivered >= count
        }
        guard let after = await receiver.view() else {
            throw CommandFailure(.failure, "enterprise does not answer")
        }
        guard after.forwardHead == before.forwardHead, after.position == before.position else {
            throw CommandFailure(
                .failure,
                "the drill wrote facts again: \(before.forwardHead) records became "
                    + "\(after.forwardHead)")
        }
        await screen.stage(
            .done,
            "drill: the last \(DemoText.count(count, "fact")) fetched again below the position and "
                + "recognised, nothing written")
        return (count, after.redelivered)
    }
}

/// What is up, for the live line.
actor DemoScene {
    private var live = DemoScreen.Live()
    private let screen: DemoScreen
    private let producer: DemoProducer
    private let source: ZoneNode
    private let receiver: ZoneNode

    init(screen: DemoScreen, producer: DemoProducer, source: ZoneNode, receiver: ZoneNode) {
        self.screen = screen
        self.producer = producer
        self.source = source
        self.receiver = receiver
    }

    func set(_ change: @Sendable (inout DemoScreen.Live) -> Void) { change(&live) }

    /// Looks and draws until it is cancelled.
    func paint() async {
        var last = (acknowledged: 0, seconds: Pacing.seconds())
        while !Task.isCancelled {
            let counts = await producer.counts
            let (to, from) = await (receiver.view(), source.view())
            live.rows = counts.rows
            live.acknowledged = counts.acknowledged
            if let to { live.forward = to.forwardHead }
            let head = from?.storeHead ?? UInt64(counts.acknowledged)
            live.lag = head > live.forward ? head - live.forward : 0
            let now = Pacing.seconds()
            if now - last.seconds >= 0.9 {
                live.factsPerSecond =
                    Double(counts.acknowledged - last.acknowledged) / (now - last.seconds)
                last = (counts.acknowledged, now)
            }
            if Task.isCancelled { return }
            await screen.show(live)
            await Pacing.pause(milliseconds: 150)
        }
    }
}
