import Testing

@testable import WriteAheadLog

@Suite("Retention: the loss table")
struct RetentionLossTableTests {
    func spans(_ table: LossTable) -> [[UInt64]] {
        table.spans.map { [$0.first, $0.last, UInt64($0.reasons)] }
    }

    @Test("Decision 28: spans are exact, sorted, and a record is lost once")
    func decision28Spans() throws {
        var table = LossTable()
        try table.declare(10..<20, reasons: .corrupt, timeMilliseconds: 1, firstOffset: 0)
        try table.declare(0..<5, reasons: .dropped, timeMilliseconds: 2, firstOffset: 5)
        #expect(spans(table) == [[0, 4, 1], [10, 19, 4]])
        // Around the damage, which keeps its reason.
        try table.declare(5..<30, reasons: .dropped, timeMilliseconds: 3, firstOffset: 30)
        #expect(spans(table) == [[0, 9, 1], [10, 19, 4], [20, 29, 1]])
        #expect(table.spans[0].timeMilliseconds == 3)
        // Again, as after a crash between table and removal.
        let before = table
        try table.declare(0..<30, reasons: .expired, timeMilliseconds: 9, firstOffset: 30)
        #expect(table == before)
        #expect(try LossTable(table.spans) == table)
    }

    @Test("Decision 28: overflow merges the oldest neighbours and never claims a held record")
    func decision28Overflow() throws {
        var table = LossTable()
        var declared: [Range<UInt64>] = []
        for number in 0..<400 as Range<UInt64> {
            let range = number * 10..<number * 10 + 3
            declared.append(range)
            try table.declare(
                range, reasons: number % 2 == 0 ? .dropped : .expired,
                timeMilliseconds: Int64(number), firstOffset: range.upperBound)
        }
        #expect(table.spans.count == 256)
        // The oldest 145 became one span with what lay between; the rest is exact.
        #expect(spans(table)[0] == [0, 1442, 1 | 2 | 16])
        #expect(table.spans[0].timeMilliseconds == 144)
        #expect(
            table.spans.dropFirst().map { $0.first..<$0.last + 1 } == Array(declared.dropFirst(145)))
        #expect(table.spans.last!.last < 3993)
        #expect(try LossTable(table.spans) == table)
    }

    @Test("Decision 28: losses among held records are bounded, and a removal always has room")
    func decision28HeldLosses() throws {
        var table = LossTable()
        for number in 0..<254 as Range<UInt64> {
            try table.declare(
                1000 + number * 2..<1001 + number * 2, reasons: .corrupt, timeMilliseconds: 0,
                firstOffset: 100)
        }
        let full = table
        #expect(throws: LogError.rejected(.tooMany(what: "separate losses", maximum: 254))) {
            try table.declare(5000..<5001, reasons: .corrupt, timeMilliseconds: 0, firstOffset: 100)
        }
        #expect(table == full)
        for end in 101..<130 as Range<UInt64> {
            try table.declare(
                end - 1..<end, reasons: end % 2 == 0 ? .dropped : .expired, timeMilliseconds: 0,
                firstOffset: end)
        }
        #expect(table.spans.count == 256)
        #expect(Array(table.spans.dropFirst(2)) == full.spans)
        #expect(spans(table)[0] == [100, 127, 3] && spans(table)[1] == [128, 128, 2])
    }

    @Test("Decision 13: a reader below the first offset gets one gap with all its reasons")
    func decision13Gap() throws {
        var table = LossTable()
        try table.declare(10..<20, reasons: .dropped, timeMilliseconds: 5, firstOffset: 40)
        try table.declare(20..<30, reasons: .expired, timeMilliseconds: 7, firstOffset: 40)
        try table.declare(40..<45, reasons: .corrupt, timeMilliseconds: 6, firstOffset: 40)
        try table.declare(60..<61, reasons: .corrupt, timeMilliseconds: 9, firstOffset: 40)
        func gap(_ offset: UInt64) -> Gap? { table.gap(at: offset, firstOffset: 40) }
        #expect(
            gap(0)
                == Gap(
                    offsets: 0..<45, reasons: [.reclaimed, .dropped, .expired, .corrupt],
                    timeMilliseconds: 7))
        #expect(gap(25)?.reasons == [.expired, .reclaimed, .corrupt] && gap(25)?.offsets == 25..<45)
        #expect(gap(35)?.reasons == [.reclaimed, .corrupt])
        #expect(gap(42) == Gap(offsets: 42..<45, reasons: .corrupt, timeMilliseconds: 6))
        #expect(gap(45) == nil && gap(59) == nil && gap(61) == nil)
        #expect(gap(60)?.offsets == 60..<61)
        let detached = table.gap(at: 42, firstOffset: 40, isDetached: true)
        #expect(detached?.reasons == [.corrupt, .detached])
        #expect(detached?.reasons.names == ["corrupt", "detached"])
        // Covered to the last offset: nothing was merely reclaimed.
        var whole = LossTable()
        try whole.declare(0..<40, reasons: .dropped, timeMilliseconds: 1, firstOffset: 40)
        #expect(whole.gap(at: 3, firstOffset: 40)?.reasons == .dropped)
        // Nothing declared: reclaimed, of which no time is kept.
        #expect(
            LossTable().gap(at: 3, firstOffset: 40)
                == Gap(offsets: 3..<40, reasons: .reclaimed, timeMilliseconds: nil))
        #expect(LossTable().gap(at: 40, firstOffset: 40) == nil)
    }

    @Test("Decision 13: a confirm names the losses it passes; adjacent ones are one gap")
    func decision13Confirm() throws {
        var table = LossTable()
        try table.declare(10..<20, reasons: .dropped, timeMilliseconds: 5, firstOffset: 40)
        try table.declare(20..<30, reasons: .expired, timeMilliseconds: 7, firstOffset: 40)
        try table.declare(50..<55, reasons: .corrupt, timeMilliseconds: 6, firstOffset: 40)
        #expect(
            table.gaps(in: 15..<52) == [
                Gap(offsets: 15..<30, reasons: [.dropped, .expired], timeMilliseconds: 7),
                Gap(offsets: 50..<52, reasons: .corrupt, timeMilliseconds: 6),
            ])
        #expect(table.gaps(in: 30..<50).isEmpty && table.gaps(in: 15..<15).isEmpty)
    }

    @Test("a removal that a crash left undone is found by its losses; damage is no removal")
    func unfinished() throws {
        var table = LossTable()
        try table.declare(90..<95, reasons: .corrupt, timeMilliseconds: 0, firstOffset: 0)
        #expect(table.unfinishedRemovalEnd(firstOffset: 0) == nil)
        try table.declare(10..<40, reasons: .dropped, timeMilliseconds: 0, firstOffset: 40)
        #expect(table.unfinishedRemovalEnd(firstOffset: 0) == 40)
        #expect(table.unfinishedRemovalEnd(firstOffset: 39) == 40)
        #expect(table.unfinishedRemovalEnd(firstOffset: 40) == nil)
    }

    @Test("a stored table that is not as one is left is refused, not trapped on")
    func stored() {
        func loss(_ first: UInt64, _ last: UInt64) -> LogState.Loss {
            LogState.Loss(first: first, last: last, timeMilliseconds: 0, reasons: 1)
        }
        for wrong in [
            [loss(5, 4)], [loss(0, 5), loss(5, 6)], [loss(7, 8), loss(0, 1)], [loss(0, .max)],
            [loss(0, 1 << 62)],
            (0..<257).map { loss($0 * 2, $0 * 2) },
        ] {
            #expect(throws: FormatError.self) { try LossTable(wrong) }
        }
    }
}
