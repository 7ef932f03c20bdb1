import Facts
import Foundation
import Testing

@testable import Buffers
@testable import Gateway

/// A log of which only its bounds and append times matter.
private final class BoundsDouble: ReadableBuffer {
    let identifier = [UInt8](repeating: 1, count: 16)
    let epoch: UInt64 = 1
    let fill = 0.0
    let firstOffset: UInt64
    /// Of the records from `firstOffset` on, in order.
    let times: [Int64]

    init(first: UInt64, times: [Int64]) {
        firstOffset = first
        self.times = times
    }

    var headOffset: UInt64 { firstOffset + UInt64(times.count) }

    func read(
        from offset: UInt64, maximumCount: Int, maximumBytes: Int, _ visit: (BufferRecord) -> Bool
    ) throws(BufferError) -> UInt64 {
        var next = offset
        while next < headOffset, Int(next - offset) < maximumCount {
            let record = BufferRecord(
                offset: next, appendedMilliseconds: times[Int(next - firstOffset)], epoch: 1,
                contentDigest: nil, payload: UnsafeRawBufferPointer(start: nil, count: 0))
            next += 1
            if !visit(record) { break }
        }
        return next
    }

    func gaps(in offsets: Range<UInt64>) -> [BufferGap] { [] }

    func offset(atOrAfterMilliseconds time: Int64) throws(BufferError) -> UInt64 {
        firstOffset + UInt64(times.firstIndex { $0 >= time } ?? times.count)
    }

    func observeHead(_ handler: @escaping @Sendable (UInt64) -> Void) -> UInt64 { 0 }
    func removeObserver(_ number: UInt64) {}
}

@Suite struct CursorStartTests {
    private static let hour: Int64 = 3_600_000
    private let now: Int64 = 1_000 * hour
    private let began: Int64 = 100 * hour

    private func resolve(_ mode: CursorInitMode, _ buffer: BoundsDouble)
        throws -> Result<CursorStart, ServiceError>
    {
        try CursorStart.resolve(mode, in: buffer, clock: now, began: began)
    }

    /// Of the hours 940, 950 ... 990; what was before hour 940 is gone.
    private let truncated = BoundsDouble(
        first: 50, times: [940, 950, 960, 970, 980, 990].map { $0 * hour })
    private let whole = BoundsDouble(first: 0, times: [980, 990].map { $0 * hour })
    private let empty = BoundsDouble(first: 0, times: [])

    @Test("gateway decision 9: bounded and full modes begin at the first retained record and say what is short")
    func clampAndShortfall() throws {
        func start(_ mode: CursorInitMode, _ buffer: BoundsDouble) throws -> [Int64] {
            let start = try resolve(mode, buffer).get()
            return [Int64(start.offset), start.shortfallMilliseconds]
        }
        #expect(try start(.boundedBackfill(hours: 24), truncated) == [54, 0])
        #expect(try start(.boundedBackfill(hours: 60), truncated) == [50, 0])
        #expect(try start(.boundedBackfill(hours: 100), truncated) == [50, 40 * Self.hour])
        #expect(try start(.fullBackfill, truncated) == [50, 840 * Self.hour])
        #expect(try start(.startNow, truncated) == [56, 0])
        // Nothing was ever removed: nothing is short, however far back is asked for.
        #expect(try start(.boundedBackfill(hours: 999), whole) == [0, 0])
        #expect(try start(.fullBackfill, whole) == [0, 0])
        #expect(try start(.boundedBackfill(hours: 1), whole) == [2, 0])
        #expect(try start(.fullBackfill, empty) == [0, 0])
        // Everything was removed.
        let bare = BoundsDouble(first: 7, times: [])
        #expect(try start(.boundedBackfill(hours: 5), bare) == [7, 5 * Self.hour])
    }

    @Test("gateway decision 9: where the clock went back, hours are counted from the last append")
    func clockBehind() throws {
        let start = try CursorStart.resolve(
            .boundedBackfill(hours: 15), in: truncated, clock: 3 * Self.hour, began: began)
        #expect(try start.get().offset == 54)
    }

    @Test("gateway decision 9: explicit_timestamp outside of what is there fails and names the range")
    func explicitTimestamp() throws {
        func at(_ hour: Int64, _ buffer: BoundsDouble) throws -> Result<CursorStart, ServiceError> {
            try resolve(.explicitTimestamp(unixMilliseconds: hour * Self.hour), buffer)
        }
        #expect(try at(940, truncated).get().offset == 50)
        #expect(try at(941, truncated).get().offset == 51)
        #expect(try at(1_000, truncated).get().offset == 56)
        for hour in [939, 1_001] as [Int64] {
            guard case .failure(let error) = try at(hour, truncated) else {
                Issue.record("hour \(hour) is outside")
                continue
            }
            #expect(error.reason == .initOutOfRange)
            #expect(error.message.contains(Timestamp.text(940 * Self.hour)))
            #expect(error.message.contains(Timestamp.text(now)))
            #expect(error.firstOffset == 50 && error.headOffset == 56)
        }
        // An empty log has what there was since it began: nothing.
        #expect(try at(100, empty).get().offset == 0)
        guard case .failure = try at(99, empty) else {
            Issue.record("before the log began")
            return
        }
    }

    @Test func `modes are read as the files and the wire write them`() throws {
        #expect(try CursorStart.mode("", timestampMilliseconds: 0) == .boundedBackfill(hours: 24))
        #expect(try CursorStart.mode("bounded_backfill_3h", timestampMilliseconds: 0) == .boundedBackfill(hours: 3))
        #expect(
            try CursorStart.mode("explicit_timestamp", timestampMilliseconds: 5)
                == .explicitTimestamp(unixMilliseconds: 5))
        for (text, time) in [
            ("explicit_timestamp", 0), ("explicit_timestamp", -1), ("bounded_backfill_0h", 0),
            ("bounded_backfill_99999999999999999999h", 0), ("Start_now", 0),
        ] as [(String, Int64)] {
            #expect(throws: ServiceError.self) {
                try CursorStart.mode(text, timestampMilliseconds: time)
            }
        }
    }

    @Test func `what a cursor keeps of its start is read back as it was`() {
        for recorded in [
            CursorStart.Recorded(mode: "full_backfill"),
            CursorStart.Recorded(mode: "bounded_backfill_24h", shortfallMilliseconds: 1),
            CursorStart.Recorded(
                mode: "explicit_timestamp@2025-01-15T10:00:00.000Z",
                shortfallMilliseconds: 86_400_000),
        ] {
            #expect(CursorStart.Recorded(text: recorded.text) == recorded)
        }
        #expect(CursorStart.Recorded(text: "").shortfallMilliseconds == 0)
    }

    @Test func `times are written as they are read`() {
        for text in [
            "1970-01-01T00:00:00.000Z", "2024-02-29T23:59:59.999Z", "2025-01-15T10:00:00.000Z",
            "2000-03-01T00:00:00.001Z", "1969-12-31T23:59:59.999Z", "2100-12-31T12:34:56.789Z",
        ] {
            #expect(Timestamp.unixMilliseconds(text).map(Timestamp.text) == text)
        }
    }
}
