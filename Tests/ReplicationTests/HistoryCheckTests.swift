import Buffers
import Facts
import Foundation
import Replication
import Testing

@Suite struct HistoryCheckTests {
    private func mismatch(
        _ position: SourcePosition, head: UInt64 = 10, cursor: TrackedCursor? = nil,
        holds: ClosedRange<UInt64>? = 0...9
    ) throws -> String? {
        try HistoryCheck.mismatch(
            position: position, identifier: source, epoch: 1, head: head, cursor: cursor,
            recordDigest: { offset in
                (holds?.contains(offset) ?? false) ? place(offset + 1).digest : nil
            })
    }

    private func cursor(_ next: UInt64, hasDigest: Bool = true) -> TrackedCursor {
        TrackedCursor(
            owner: "o", name: "n", nextOffset: next, digest: hasDigest ? place(next).digest : nil,
            digestOffset: hasDigest ? place(next).digestOffset : nil)
    }

    @Test("gateway decision 6: one history passes")
    func oneHistory() throws {
        #expect(try mismatch(place(0)) == nil)
        #expect(try mismatch(place(5)) == nil)
        #expect(try mismatch(place(10)) == nil)
        #expect(try mismatch(place(5), cursor: cursor(5)) == nil)
        #expect(try mismatch(place(7), cursor: cursor(5)) == nil)
        // Created at the head, nothing received yet.
        let start = SourcePosition(logUUID: source, epoch: 1, nextOffset: 6)
        #expect(try mismatch(start, cursor: cursor(6, hasDigest: false)) == nil)
    }

    @Test("gateway decision 6: another log or epoch")
    func anotherLog() throws {
        var other = place(5)
        other.logUUID[0] ^= 1
        #expect(try mismatch(other)?.contains("is in log") == true)
        other = place(5)
        other.epoch = 2
        #expect(try mismatch(other)?.contains("epoch 2") == true)
    }

    @Test("gateway decision 6: the source went back")
    func sourceBack() throws {
        #expect(try mismatch(place(11))?.contains("the source went back") == true)
        #expect(try mismatch(place(6), head: 5, holds: 0...4) != nil)
    }

    @Test("gateway decision 6: the source went back and on")
    func sourceBackAndOn() throws {
        var position = place(5)
        position.digest = SHA256.hash([1])
        #expect(try mismatch(position)?.contains("went back and went on") == true)
        // The cursor's copy answers once the record is gone.
        #expect(try mismatch(position, cursor: cursor(5), holds: nil) != nil)
        #expect(try mismatch(place(5), cursor: cursor(5), holds: nil) == nil)
        // Without either, log, epoch and head have to do.
        #expect(try mismatch(position, holds: nil) == nil)
    }

    @Test("gateway decision 6: the receiver went back")
    func receiverBack() throws {
        #expect(
            try mismatch(place(4), cursor: cursor(5))?.contains("the receiver went back") == true)
        // Leaving out the digest does not pass the check that it is for.
        let bare = SourcePosition(logUUID: source, epoch: 1, nextOffset: 5)
        #expect(try mismatch(bare, cursor: cursor(5))?.contains("receiver went back") == true)
    }

    @Test func `a digest of a record at or after the position is none of before`() throws {
        var position = place(5)
        position.digestOffset = 5
        #expect(try mismatch(position) != nil)
    }

    @Test func `positions travel`() {
        for position in [place(0), place(1), place(9), place(.max)] {
            #expect(SourcePosition(position.wire) == position)
        }
        func parsed(_ change: (inout Bsfg_V1_Position) -> Void) -> SourcePosition? {
            var wire = place(4).wire
            change(&wire)
            return SourcePosition(wire)
        }
        #expect(parsed { _ in } == place(4))
        #expect(parsed { $0.logUuid = Data() } == nil)
        #expect(parsed { $0.epoch = 0 } == nil)
        #expect(parsed { $0.clearOffset() } == nil)
        #expect(parsed { $0.digestBefore = Data([1, 2, 3]) } == nil)
        #expect(parsed { $0.digestBefore = Data() } == nil)
        #expect(parsed { $0.clearDigestOffset() } == nil)
        #expect(
            parsed {
                $0.clearDigestOffset()
                $0.digestBefore = Data()
            } == SourcePosition(logUUID: source, epoch: 1, nextOffset: 4))
    }
}
