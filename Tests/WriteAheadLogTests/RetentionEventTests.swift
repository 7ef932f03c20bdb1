import Synchronization
import Testing

@testable import WriteAheadLog

@Suite("Retention: events")
struct RetentionEventTests {
    static let diskError = DiskError(.write, "/log/1", code: 5)

    /// One event of each kind and the counter that must move with it.
    static let kinds: [(LogEvent, any KeyPath<LogEventCounters, UInt64> & Sendable)] = [
        (.poisoned(PoisonCause(error: diskError)), \.poisoned),
        (.backpressureClosed(fill: 0.8), \.backpressureClosed),
        (.backpressureOpened(fill: 0.7), \.backpressureOpened),
        (.alarmRaised(fill: 0.8), \.alarmRaised),
        (.alarmAcknowledged(by: "a", reason: "b"), \.alarmAcknowledged),
        (.gapDeclared(Gap(offsets: 0..<1, reasons: .dropped, timeMilliseconds: 1)), \.gapDeclared),
        (.expiryApproaching(offsets: 0..<1, atMilliseconds: 1), \.expiryApproaching),
        (.expired(offsets: 0..<1), \.expired),
        (.truncated(offsets: 0..<1), \.truncated),
        (.cursorDetached(owner: "o", name: "n", reason: "r"), \.cursorDetached),
        (.lowSpace(freeBytes: 1), \.lowSpace),
        (.spaceRecovered(freeBytes: 2), \.spaceRecovered),
        (.spareFailed(diskError), \.spareFailed),
        (.derivedWorkFailed(what: "merge", diskError), \.derivedWorkFailed),
        (.segmentSealed(identifier: 1, digest: digest("s")), \.segmentSealed),
        (
            .corruptionFound(Corruption(file: "f", position: 0, offset: 0, reason: "r")),
            \.corruptionFound
        ),
        (.keyRunRebuilt, \.keyRunRebuilt),
        (.dedupeHorizonLost, \.dedupeHorizonLost),
        (.clockSuspect(reason: "r"), \.clockSuspect),
        (.clockTrusted, \.clockTrusted),
        (.tailCut(bytes: 1), \.tailCut),
    ]

    @Test("every kind has a counter of its own")
    func counters() {
        #expect(Mirror(reflecting: LogEventCounters()).children.count == Self.kinds.count)
        let hub = LogEventHub()
        for (number, (event, counter)) in Self.kinds.enumerated() {
            #expect(hub.counters[keyPath: counter] == 0)
            for _ in 0...number { hub.emit(event) }
        }
        for (number, (_, counter)) in Self.kinds.enumerated() {
            #expect(hub.counters[keyPath: counter] == UInt64(number + 1))
        }
    }

    @Test("every subscriber gets every event in order, until the hub ends")
    func streams() async {
        let hub = LogEventHub()
        hub.emit(.clockTrusted)
        let first = hub.events()
        let second = hub.events()
        for (event, _) in Self.kinds { hub.emit(event) }
        hub.finish()
        hub.emit(.keyRunRebuilt)
        for stream in [first, second] {
            var seen: [LogEvent] = []
            for await event in stream { seen.append(event) }
            #expect(seen == Self.kinds.map(\.0))
        }
        for await event in hub.events() { Issue.record("\(event) after the end") }
    }

    @Test("a stream that nobody empties keeps the newest 1,024")
    func bound() async {
        let hub = LogEventHub()
        let stream = hub.events()
        for bytes in 0..<3000 as Range<UInt64> { hub.emit(.tailCut(bytes: bytes)) }
        hub.finish()
        var seen: [LogEvent] = []
        for await event in stream { seen.append(event) }
        #expect(seen == (1976..<3000).map { .tailCut(bytes: $0) })
        #expect(hub.counters.tailCut == 3000)
    }

    @Test("handlers run on the thread of the event and may use the hub; removed ones do not run")
    func handlers() {
        let hub = LogEventHub()
        let seen = Mutex<[LogEvent]>([])
        let number = hub.addHandler { event in
            seen.withLock { $0.append(event) }
            if event == .clockTrusted { hub.emit(.keyRunRebuilt) }
        }
        hub.emit(.clockTrusted)
        #expect(seen.withLock { $0 } == [.clockTrusted, .keyRunRebuilt])
        hub.removeHandler(number)
        hub.emit(.clockTrusted)
        #expect(seen.withLock { $0.count } == 2)
    }
}
