import Glibc
import Synchronization
import Testing

@testable import WriteAheadLog

/// What `disk-test` concludes from a disk whose times and answers are known, and what its numbered
/// blocks tell after a power cut.
@Suite("Disk test")
struct DiskTestTests {
    /// A memory disk on which a sync and a direct write take the time they are given.
    final class MeasuredDisk: MeasurableDisk {
        let memory = MemoryDisk()
        let synchroniseNanoseconds: Int64
        let directNanoseconds: Int64?
        let blockDevice: BlockDevice?
        let tellsShortWrites: Bool
        private let clock = Atomic<Int64>(0)
        private let isDirect = Atomic<Bool>(false)
        /// Writes at or beyond this position fail, or with `failsAtSync` the next sync.
        let roomBytes: UInt64
        let failsAtSync: Bool
        private let isOverdrawn = Atomic<Bool>(false)

        init(
            synchroniseNanoseconds: Int64 = 4_000_000, directNanoseconds: Int64? = nil,
            device: BlockDevice? = nil, tellsShortWrites: Bool = true,
            roomBytes: UInt64 = .max, failsAtSync: Bool = false
        ) {
            self.synchroniseNanoseconds = synchroniseNanoseconds
            self.directNanoseconds = directNanoseconds
            blockDevice = device
            self.tellsShortWrites = tellsShortWrites
            self.roomBytes = roomBytes
            self.failsAtSync = failsAtSync
            memory.setHook { [unowned self] call in work(call) }
        }

        var nanoseconds: Int64 { clock.load(ordering: .relaxed) }

        private func work(_ call: MemoryDisk.Call) -> MemoryDisk.Fault? {
            switch call.operation {
            case .synchronise:
                clock.wrappingAdd(synchroniseNanoseconds, ordering: .relaxed)
                return isOverdrawn.load(ordering: .relaxed) ? .error(EIO) : nil
            case .write:
                if isDirect.load(ordering: .relaxed), let directNanoseconds {
                    clock.wrappingAdd(directNanoseconds, ordering: .relaxed)
                }
                guard call.position >= roomBytes else { return nil }
                guard failsAtSync else { return .error(ENOSPC) }
                isOverdrawn.store(true, ordering: .relaxed)
                return nil
            default:
                return nil
            }
        }

        func openDirectSynchronous(_ path: String) throws(DiskError) -> any DiskFile {
            guard directNanoseconds != nil else { throw DiskError(.open, path, code: EINVAL) }
            isDirect.store(true, ordering: .relaxed)
            return try memory.open(path, .readWrite)
        }

        func device(_ path: String) -> BlockDevice? { blockDevice }
        func reportsShortWrites(_ path: String) throws(DiskError) -> Bool { tellsShortWrites }

        func createDirectory(_ path: String) throws(DiskError) { try memory.createDirectory(path) }
        func list(_ path: String) throws(DiskError) -> [String] { try memory.list(path) }
        func open(_ path: String, _ mode: DiskOpenMode) throws(DiskError) -> any DiskFile {
            try memory.open(path, mode)
        }
        func lock(_ path: String, exclusive: Bool) throws(DiskError) -> (any DiskLock)? {
            try memory.lock(path, exclusive: exclusive)
        }
        func remove(_ path: String) throws(DiskError) { try memory.remove(path) }
        func rename(_ path: String, to newPath: String) throws(DiskError) {
            try memory.rename(path, to: newPath)
        }
        func synchroniseDirectory(_ path: String) throws(DiskError) {
            try memory.synchroniseDirectory(path)
        }
        func freeBytes(_ path: String) throws(DiskError) -> UInt64 { try memory.freeBytes(path) }
        func blockBytes(_ path: String) -> (logical: UInt32, physical: UInt32) {
            memory.blockBytes(path)
        }

        func test(fills: Bool = false) throws(DiskError) -> DiskTestReport {
            try DiskTest(
                disk: self, directory: "/d", writeCount: 50, fills: fills,
                nanoseconds: { [unowned self] in nanoseconds }
            ).run()
        }
    }

    @Test("latencies are those of the disk, and the faster writer is named")
    func latencies() throws {
        let cached = BlockDevice(name: "a", hasVolatileCache: true)
        let disk = MeasuredDisk(directNanoseconds: 1_000_000, device: cached)
        let report = try disk.test()
        #expect(report.synchronised.median == 4_000_000)
        #expect(report.synchronised.percentile99 == 4_000_000)
        #expect(report.synchronised.count == 50)
        #expect(report.direct?.median == 1_000_000)
        #expect(report.recommended == .direct)
        #expect(report.suspicions.isEmpty)
        #expect(report.reportsNoSpace == nil)
        #expect(disk.memory.files.isEmpty)
        // Hardly faster is no reason.
        let close = MeasuredDisk(directNanoseconds: 3_900_000, device: cached)
        #expect(try close.test().recommended == .synchronised)
        let without = try MeasuredDisk(device: cached).test()
        #expect(without.direct == nil && without.recommended == .synchronised)
    }

    @Test("a flush that is faster than its device can be is a suspicion")
    func suspicions() throws {
        func found(_ nanoseconds: Int64, _ device: BlockDevice?) throws
            -> [DiskTestReport.Suspicion]
        {
            try MeasuredDisk(synchroniseNanoseconds: nanoseconds, device: device).test().suspicions
        }
        let cached = BlockDevice(name: "a", hasVolatileCache: true)
        let protected = BlockDevice(name: "a", hasVolatileCache: false)
        let rotating = BlockDevice(name: "a", hasVolatileCache: true, isRotational: true)
        #expect(
            try found(20_000, cached) == [
                .fasterThanACache(medianNanoseconds: 20_000, leastNanoseconds: 60_000)
            ])
        #expect(try found(60_000, cached).isEmpty)
        #expect(try found(20_000, protected).isEmpty)
        #expect(
            try found(500_000, rotating) == [
                .fasterThanRotation(medianNanoseconds: 500_000, leastNanoseconds: 1_000_000)
            ])
        #expect(try found(4_000_000, rotating).isEmpty)
        #expect(try found(4_000_000, nil) == [.noDevice])
        let hiding = MeasuredDisk(device: protected, tellsShortWrites: false)
        #expect(try hiding.test().suspicions == [.shortWriteHidden])
    }

    @Test("a full file system is told by the write, a thin one only by the flush")
    func room() throws {
        let device = BlockDevice(name: "a", hasVolatileCache: false)
        let full = MeasuredDisk(device: device, roomBytes: 20 << 20)
        let told = try full.test(fills: true)
        #expect(told.reportsNoSpace == true && told.suspicions.isEmpty)
        #expect(full.memory.files.isEmpty)
        let thin = MeasuredDisk(device: device, roomBytes: 20 << 20, failsAtSync: true)
        let promised = try thin.test(fills: true)
        #expect(promised.reportsNoSpace == false && promised.suspicions == [.roomPromised])
        #expect(thin.memory.files.isEmpty)
    }

    @Test("an error is thrown, and the file is gone")
    func failure() throws {
        let disk = MeasuredDisk(roomBytes: 1 << 20)
        #expect(throws: DiskError(.write, "/d/bsfg-disk-test", code: ENOSPC)) { try disk.test() }
        #expect(disk.memory.files.isEmpty)
    }

    @Test("the numbers of an honest disk survive a power cut, up to the last acknowledged one")
    func honest() throws {
        var chance = SeededGenerator(seed: SeededGenerator.seed("numbered blocks"))
        let run = LogIdentifier(bytes: (0..<16).map { UInt8($0) })
        let disk = MemoryDisk()
        let blocks = try NumberedBlocks.create(disk, directory: "/d", run: run)
        var acknowledged: UInt64 = 0
        for _ in 0..<1500 { acknowledged = try blocks.writeNext() }
        #expect(acknowledged == 1500)
        // The cut strikes before the sync of the next one.
        disk.setHook { $0.operation == .synchronise ? .error(EIO) : nil }
        #expect(throws: DiskError.self) { try blocks.writeNext() }
        let found = try NumberedBlocks.find(
            disk.afterPowerCut(using: &chance), directory: "/d")
        #expect(found.run == run)
        #expect(found.greatest == 1500 || found.greatest == 1501)
        // A torn 1501 takes the oldest number's block with it.
        #expect(found.missing.isEmpty || found.missing == [477])
    }

    @Test("a number that a disk lost is missing")
    func lying() throws {
        let run = LogIdentifier(bytes: [UInt8](repeating: 7, count: 16))
        let disk = MemoryDisk()
        let blocks = try NumberedBlocks.create(disk, directory: "/d", run: run)
        for _ in 0..<100 { _ = try blocks.writeNext() }
        let path = "/d/" + NumberedBlocks.fileName
        // The newest was never there, and one in the middle is damaged.
        disk.edit(path) { bytes in
            for place in 100 * 4096..<101 * 4096 { bytes[place] = 0 }
            bytes[50 * 4096 + 2000] ^= 1
        }
        let found = try NumberedBlocks.find(disk, directory: "/d")
        #expect(found.greatest == 99)
        #expect(found.missing == [50])
        disk.edit(path) { $0 = [UInt8](repeating: 0xFF, count: 100) }
        let nothing = try NumberedBlocks.find(disk, directory: "/d")
        #expect(nothing.run == nil && nothing.greatest == 0 && nothing.missing.isEmpty)
    }
}
