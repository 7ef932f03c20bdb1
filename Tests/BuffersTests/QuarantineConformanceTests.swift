import Facts
import Foundation
import Testing
import WriteAheadLog

@testable import Buffers

/// What every quarantine does, in memory and in a log.
@Suite struct QuarantineConformanceTests {
    /// A quarantine that can be closed and opened again where it is durable.
    private final class Subject {
        let realisation: Realisation
        let directory = NSTemporaryDirectory() + "quarantine-\(UUID().uuidString)"
        let capacityBytes: UInt64
        private(set) var quarantine: any Quarantine

        init(_ realisation: Realisation, capacityBytes: UInt64 = 1 << 20) throws {
            self.realisation = realisation
            self.capacityBytes = capacityBytes
            quarantine =
                switch realisation {
                case .memory: MemoryQuarantine(capacityBytes: capacityBytes)
                case .log: try LogQuarantine(directory: directory, capacityBytes: capacityBytes)
                }
        }

        func reopen() throws {
            guard let log = quarantine as? LogQuarantine else { return }
            log.close()
            quarantine = try LogQuarantine(directory: directory, capacityBytes: capacityBytes)
        }

        deinit {
            (quarantine as? LogQuarantine)?.close()
            try? FileManager.default.removeItem(atPath: directory)
        }
    }

    private func identifier(_ offset: UInt64, epoch: UInt64 = 1) -> QuarantineIdentifier {
        QuarantineIdentifier(
            logUUID: [UInt8](repeating: 7, count: 16), epoch: epoch, offset: offset)
    }

    private func fact(_ offset: UInt64, epoch: UInt64 = 1, bytes: Int = 100) -> QuarantinedFact {
        var fact = QuarantinedFact(
            identifier: identifier(offset, epoch: epoch), stream: "facts.operational",
            origin: "plant-a", reason: .conflict, sentence: "it says another thing",
            quarantinedMilliseconds: 1_700_000_000_000 + Int64(offset),
            offeredDigest: digest(1),
            storedRecord: [UInt8](repeating: UInt8(truncatingIfNeeded: offset), count: bytes))
        fact.isHalting = offset % 2 == 1
        fact.storedDigest = digest(2)
        fact.storedOffset = 5
        return fact
    }

    private func all(_ quarantine: any Quarantine) throws -> [QuarantinedFact] {
        var all: [QuarantinedFact] = []
        try quarantine.visit { fact in
            all.append(fact)
            return true
        }
        return all
    }

    @Test("gateway decision 15: a quarantine keeps what it took by source log, epoch and offset, oldest first",
        arguments: Realisation.allCases)
    func keeps(_ realisation: Realisation) throws {
        let subject = try Subject(realisation)
        #expect(try all(subject.quarantine).isEmpty && subject.quarantine.size.count == 0)
        #expect(try subject.quarantine.fact(identifier(1)) == nil)
        #expect(try subject.quarantine.put([fact(9), fact(3)]) == [fact(9), fact(3)])
        var bare = fact(3, epoch: 2)
        bare.offeredDigest = nil
        bare.storedDigest = nil
        bare.storedOffset = nil
        bare.reason = .malformed
        try subject.quarantine.put([bare])
        // What is there stays as it is.
        #expect(
            try subject.quarantine.put([fact(9, bytes: 5), fact(4), fact(4, bytes: 7)]) == [fact(4)])
        for _ in 0..<2 {
            #expect(try all(subject.quarantine) == [fact(9), fact(3), bare, fact(4)])
            #expect(try subject.quarantine.fact(identifier(3, epoch: 2)) == bare)
            #expect(subject.quarantine.size.count == 4)
            try subject.reopen()
        }
    }

    @Test("gateway decision 15: what was decided about is gone, may come again, and gives its room back",
        arguments: Realisation.allCases)
    func forgets(_ realisation: Realisation) throws {
        let subject = try Subject(realisation)
        try subject.quarantine.put([fact(1), fact(2), fact(3)])
        let bytes = subject.quarantine.size.bytes
        #expect(try subject.quarantine.remove(identifier(2)))
        #expect(try !subject.quarantine.remove(identifier(2)))
        #expect(try !subject.quarantine.remove(identifier(8)))
        #expect(subject.quarantine.size.bytes == bytes / 3 * 2)
        try subject.reopen()
        #expect(try all(subject.quarantine) == [fact(1), fact(3)])
        #expect(try subject.quarantine.fact(identifier(2)) == nil)
        try subject.quarantine.put([fact(2)])
        #expect(try subject.quarantine.remove(identifier(1)))
        try subject.reopen()
        #expect(try all(subject.quarantine) == [fact(3), fact(2)])
        #expect(try subject.quarantine.remove(identifier(3)))
        #expect(try subject.quarantine.remove(identifier(2)))
        try subject.reopen()
        #expect(try all(subject.quarantine).isEmpty && subject.quarantine.size.bytes == 0)
    }

    @Test("gateway decision 15: a full quarantine takes nothing of a call and can still be decided about",
        arguments: Realisation.allCases)
    func full(_ realisation: Realisation) throws {
        let subject = try Subject(realisation, capacityBytes: 4_000)
        func isFull(_ facts: [QuarantinedFact]) -> Bool {
            do throws(BufferError) { try subject.quarantine.put(facts) } catch {
                return error.kind == .full && error.retryAfterMilliseconds > 0
            }
            return false
        }
        try subject.quarantine.put([fact(1, bytes: 1_500), fact(2, bytes: 1_500)])
        #expect(isFull([fact(3, bytes: 100), fact(4, bytes: 1_500)]))
        #expect(try all(subject.quarantine).count == 2)
        #expect(try subject.quarantine.remove(identifier(1)))
        #expect(subject.quarantine.size.bytes < 2_000)
        try subject.quarantine.put([fact(4, bytes: 1_500)])
        #expect(try all(subject.quarantine).map(\.identifier.offset) == [2, 4])
        // What is there takes no more room, so it is no refusal.
        try subject.quarantine.put([fact(4), fact(2)])
        // The number of facts has its limit too.
        #expect(isFull((10..<10_011).map { fact($0, bytes: 0) }))
    }

    @Test("gateway decision 15: what waits behind a part that the disk lost still waits")
    func behindALoss() throws {
        let subject = try Subject(.log)
        for offset in 0..<21 as Range<UInt64> { try subject.quarantine.put([fact(offset)]) }
        // As after a kill, and the record of one of them is damaged.
        let copy = subject.directory + "-copy"
        try FileManager.default.copyItem(atPath: subject.directory, toPath: copy)
        defer { try? FileManager.default.removeItem(atPath: copy) }
        try damage(copy, [UInt8](repeating: 10, count: 100))
        var quarantine = try LogQuarantine(directory: copy, capacityBytes: 1 << 20)
        #expect(quarantine.losses == [10..<11])
        let left = (0..<21).filter { $0 != 10 }.map { fact($0) }
        #expect(try all(quarantine) == left && quarantine.size.count == 20)
        for fact in left.prefix(10) { #expect(try quarantine.remove(fact.identifier)) }
        quarantine.close()
        quarantine = try LogQuarantine(directory: copy, capacityBytes: 1 << 20)
        #expect(try all(quarantine) == Array(left.dropFirst(10)))
        quarantine.close()
    }

    @Test("gateway decision 15: an id is read as it is written, and nothing else is one")
    func identifiers() {
        let whole = identifier(57, epoch: 3)
        #expect(whole.description == String(repeating: "07", count: 16) + ".3.57")
        #expect(QuarantineIdentifier(whole.description) == whole)
        for text in [
            "", "1.2.3", whole.description + ".1", String(repeating: "07", count: 16) + ".0.1",
            String(repeating: "07", count: 16) + ".1.", String(repeating: "0g", count: 16) + ".1.1",
            String(repeating: "07", count: 16) + ".1.18446744073709551615",
        ] {
            #expect(QuarantineIdentifier(text) == nil, "\(text)")
        }
    }

    @Test func `a record that was cut or is of another version is none`() {
        for record in [QuarantineRecord.fact(fact(3)), .removal(identifier(4))] {
            let bytes = record.encode()
            #expect(bytes.withUnsafeBytes { QuarantineRecord($0) } == record)
            for count in 0..<bytes.count {
                #expect(Array(bytes[..<count]).withUnsafeBytes { QuarantineRecord($0) } == nil)
            }
            #expect(([9] + bytes[1...]).withUnsafeBytes { QuarantineRecord($0) } == nil)
        }
    }
}
