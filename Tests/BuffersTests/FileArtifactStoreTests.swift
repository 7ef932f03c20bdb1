import Facts
import Foundation
import LogSimulation
import Testing
import WriteAheadLog

@testable import Buffers

/// What only the durable store has: a disk below it that fails and loses power.
@Suite struct FileArtifactStoreTests {
    private static let root = "/artifacts"

    private func open(_ disk: any Disk, _ clock: SimulationClock) throws -> FileArtifactStore {
        try FileArtifactStore(
            directory: FileArtifactStoreTests.root, capacityBytes: 1 << 20, indexSizes: smallIndex,
            disk: disk, environment: clock.environment)
    }

    /// What has to be there after a crash, by name: nil for what is gone.
    private final class Told {
        var stored: [ArtifactName: [UInt8]] = [:]
        /// May be there or not: the sweep or the put was under way.
        var uncertain: Set<ArtifactName> = []
        var followed: UInt64 = 0
    }

    private struct Moment {
        var image: DiskImage
        var stored: [ArtifactName: [UInt8]]
        var uncertain: Set<ArtifactName>
        var followed: UInt64
        var call: DiskCall
    }

    @Test("gateway decision 26: a name is there only with its bytes, whenever the power goes")
    func powerCuts() throws {
        let clock = SimulationClock(seed: 3)
        let disk = SimulatedDisk(seed: 3)
        let told = Told()
        var moments: [Moment] = []
        let store = try open(disk, clock)
        disk.observe { call, image in
            guard call.changesDisk, call.byteCount < 1 << 18 else { return }
            moments.append(
                Moment(
                    image: image, stored: told.stored, uncertain: told.uncertain,
                    followed: told.followed, call: call))
        }
        for number in 0..<6 {
            let name = artifactName("key-\(number)")
            // Two of them have the same bytes.
            let bytes = artifactBytes(min(number, 4))
            told.uncertain = [name]
            try store.put(name, bytes)
            told.uncertain = []
            told.stored[name] = bytes
        }
        let cut = try store.beginUpload(expectedBytes: 5_000)
        try cut.write(artifactBytes(9, count: 5_000))
        cut.abandon()
        let kept = artifactName("key-1")
        try store.record(
            [store.use(kept, artifactBytes(1), at: 4)], log: oneLog, upTo: 5, isReceived: true)
        told.followed = 5
        told.uncertain = Set(told.stored.keys).subtracting([kept])
        _ = try store.sweepAll(firstOffsets: [oneLog: 0])
        told.stored = told.stored.filter { $0.key == kept }
        told.uncertain = []
        disk.observe(nil)
        #expect(moments.count > 60)

        var random = SimulationRandom(seed: 5)
        for moment in moments {
            for draw in 0..<3 {
                let image =
                    draw == 0
                    ? moment.image
                    : PowerCut(garbage: false).draw(from: moment.image, using: &random)
                try judge(image, moment, clock)
            }
        }
    }

    private func judge(_ image: DiskImage, _ moment: Moment, _ clock: SimulationClock) throws {
        let disk = SimulatedDisk(image, seed: 1)
        let store = try open(disk, clock)
        for (name, bytes) in moment.stored where !moment.uncertain.contains(name) {
            #expect(try store.bytes(name) == bytes, "\(name) before \(moment.call.sentence)")
        }
        for entry in store.list(after: nil, count: 100, isPending: false) {
            let stored = try #require(entry.stored)
            let bytes = try #require(try store.bytes(entry.name))
            #expect(SHA256.hash(bytes) == stored.content.digest)
            #expect(
                moment.stored[entry.name] != nil || moment.uncertain.contains(entry.name),
                "\(entry.name) is there before \(moment.call.sentence)")
        }
        #expect(store.followedOffset(log: oneLog) >= moment.followed)
        let files = disk.snapshot.paths
        #expect(files.filter { $0.contains("/incoming/") } == [])
        #expect(files.filter { $0.contains("/blobs/") }.count == store.usage.blobs)
        store.close()
    }

    @Test func `a disk error leaves no name and no file`() throws {
        for fault in [DiskFault.writeError, .noSpace, .syncErrorCleanPages, .nameError] {
            let clock = SimulationClock(seed: 1)
            let disk = SimulatedDisk(seed: 1)
            let store = try open(disk, clock)
            let suffix = fault == .nameError ? nil : "/incoming/1"
            disk.setFaults([FaultTrigger(fault, .call(1), pathSuffix: suffix)])
            let error = #expect(throws: ArtifactError.self) {
                try store.put(artifactName("a"), artifactBytes(1))
            }
            #expect(error?.kind == (fault == .noSpace ? .full : .failed))
            #expect(store.find(artifactName("a")) == nil && store.usage.reservedBytes == 0)
            #expect(disk.snapshot.paths.filter { $0.contains("/incoming/") } == [])
            disk.setFaults([])
            try store.put(artifactName("a"), artifactBytes(1))
            #expect(try store.bytes(artifactName("a")) == artifactBytes(1))
        }
    }

    @Test func `what an upload announces and does not send keeps nobody out`() throws {
        let store = try FileArtifactStore(
            directory: FileArtifactStoreTests.root, capacityBytes: 300_000, reservationBytes: 64_000,
            indexSizes: smallIndex, disk: SimulatedDisk(seed: 1),
            environment: SimulationClock(seed: 1).environment)
        let slow = try store.beginUpload(expectedBytes: 250_000)
        try slow.write(artifactBytes(1))
        #expect(store.usage.reservedBytes == 64_000)
        try store.put(artifactName("a"), artifactBytes(2))
        let other = try store.beginUpload(expectedBytes: 170_000)
        // What it does send it holds, ahead as far as there is room, until there is none for both.
        let piece = [UInt8](repeating: 1, count: 40_000)
        for _ in 0..<5 { try slow.write(piece) }
        let error = #expect(throws: ArtifactError.self) { try slow.write(piece) }
        #expect(error?.kind == .full)
        slow.abandon()
        try other.write(piece)
        other.abandon()
        #expect(store.usage.reservedBytes == 0 && store.usage.bytes == 10_000)
    }

    @Test func `everything known survives a restart`() throws {
        let clock = SimulationClock(seed: 1)
        let disk = SimulatedDisk(seed: 1)
        var store = try open(disk, clock)
        try store.put(artifactName("a"), artifactBytes(1))
        try store.record(
            [
                store.use(artifactName("a"), artifactBytes(1), at: 3),
                store.use(artifactName("late", zone: "plant-b"), artifactBytes(2), at: 4),
            ], log: oneLog, upTo: 6, isReceived: true)
        let before = store.list(after: nil, count: 10, isPending: false)
        let usage = store.usage
        store.close()
        store = try open(disk, clock)
        #expect(store.list(after: nil, count: 10, isPending: false) == before)
        #expect(store.usage == usage && usage.pending == 1)
        #expect(store.followedOffset(log: oneLog) == 6)
    }

    @Test func `the index gives room back and loses nothing`() throws {
        let subject = try ArtifactSubject(.log, capacityBytes: 1 << 30)
        let store = subject.store
        try store.put(artifactName("old"), artifactBytes(1))
        // Each round changes the same names: some 120 KB of records, which come to more than the log
        // holds.
        let content = artifactContent([1])
        let names = (0..<200).map { artifactName("\($0)-" + String(repeating: "k", count: 480)) }
        for round in 0..<80 {
            let uses = names.enumerated().map { number, name in
                ArtifactUse(name: name, content: content, offset: UInt64(round * 200 + number))
            }
            try store.record(uses, log: oneLog, upTo: UInt64((round + 1) * 200), isReceived: true)
        }
        #expect(store.usage.pending == 200)
        #expect(try store.bytes(artifactName("old")) == artifactBytes(1))
        #expect(store.followedOffset(log: oneLog) == 16_000)
    }

    @Test("gateway decision 24: a name is known as long as it is not swept, however old its record")
    func oldNames() throws {
        let clock = SimulationClock(seed: 7)
        let disk = SimulatedDisk(seed: 7)
        var store = try open(disk, clock)
        try store.put(artifactName("kept"), artifactBytes(1))
        // More than a segment of the index, so that the first is sealed.
        let content = artifactContent([1])
        let first = store.index.log.firstOffset
        for round in 0..<20 {
            let uses = (0..<100).map {
                ArtifactUse(
                    name: artifactName("\($0)-" + String(repeating: "k", count: 480)), content: content,
                    offset: UInt64(round))
            }
            try store.record(uses, log: oneLog, upTo: UInt64(round + 1), isReceived: true)
        }
        #expect(!store.index.needsCompaction)
        for _ in 0..<40 {
            clock.advance(milliseconds: 86_400_000)
            _ = try store.trustedMilliseconds()
            while store.index.log.stepMaintainer() {}
        }
        #expect(store.index.log.firstOffset == first)
        store.close()
        store = try open(disk, clock)
        #expect(store.index.isWhole)
        #expect(try store.bytes(artifactName("kept")) == artifactBytes(1))
        #expect(store.usage.pending == 100 && store.followedOffset(log: oneLog) == 20)
        store.close()
    }

    @Test("gateway decision 24: where the disk lost a name the others are known, and no bytes are removed")
    func lostName() throws {
        let directory = NSTemporaryDirectory() + "artifacts-\(UUID().uuidString)"
        let copy = directory + "-copy"
        defer { for path in [directory, copy] { try? FileManager.default.removeItem(atPath: path) } }
        func open(_ directory: String) throws -> FileArtifactStore {
            try FileArtifactStore(
                directory: directory, capacityBytes: 1 << 20, indexSizes: smallIndex, disk: LinuxDisk(),
                environment: .linux)
        }
        let store = try open(directory)
        for number in 0..<5 { try store.put(artifactName("number-\(number)"), artifactBytes(number)) }
        try store.record([], log: oneLog, upTo: 9, isReceived: false)
        // As after a kill.
        try FileManager.default.copyItem(atPath: directory, toPath: copy)
        store.close()
        try damage(copy + "/names", Array("number-2".utf8))
        let damaged = try open(copy)
        #expect(!damaged.isWhole && damaged.usage.names == 4)
        #expect(try damaged.bytes(artifactName("number-2")) == nil)
        #expect(try damaged.bytes(artifactName("number-4")) == artifactBytes(4))
        // References are read again.
        #expect(damaged.followedOffset(log: oneLog) == 0)
        #expect(try damaged.put(artifactName("number-2"), artifactBytes(2)).content.size == 10_000)
        #expect(FileManager.default.enumerator(atPath: copy + "/blobs")?.allObjects.count
            == FileManager.default.enumerator(atPath: directory + "/blobs")?.allObjects.count)
        damaged.close()
        // Once is enough.
        let again = try open(copy)
        #expect(again.isWhole && again.usage.names == 5)
        #expect(try again.bytes(artifactName("number-0")) == artifactBytes(0))
        again.close()
    }

    @Test("gateway decision 24: names that facts refer to are bounded, and sweeping makes room again")
    func manyNames() throws {
        let clock = SimulationClock(seed: 9)
        let disk = SimulatedDisk(seed: 9)
        var store = try open(disk, clock)
        try store.put(artifactName("kept"), artifactBytes(1))
        let content = artifactContent([1])
        func uses(_ page: Int) -> [ArtifactUse] {
            (0..<200).map {
                ArtifactUse(
                    name: artifactName("\(page)/\($0)-" + String(repeating: "k", count: 400)),
                    content: content, offset: UInt64(page))
            }
        }
        var page = 0
        func fill() -> ArtifactError.Kind? {
            while page < 1_000 {
                do throws(ArtifactError) {
                    try store.record(uses(page), log: oneLog, upTo: UInt64(page + 1), isReceived: true)
                } catch {
                    return error.kind
                }
                // What the log's own thread does.
                while store.index.log.stepMaintainer() {}
                page += 1
            }
            return nil
        }
        #expect(fill() == .full)
        #expect(page > 10 && page < 50 && store.followedOffset(log: oneLog) == UInt64(page))
        for name in uses(page).map(\.name) {
            let use = ArtifactUse(name: name, content: content, offset: UInt64(page))
            guard (try? store.record([use], log: oneLog, upTo: UInt64(page), isReceived: true)) != nil
            else { break }
        }
        // A name that is not known has no room either, one that is has.
        #expect(throws: ArtifactError.self) {
            try store.put(artifactName(String(repeating: "n", count: 400)), artifactBytes(2))
        }
        #expect(try store.put(uses(0)[0].name, artifactBytes(3)).content.size == 10_000)
        // So have all that are known: the store is as full afterwards as it was.
        for name in uses(1).map(\.name).prefix(40) { try store.put(name, artifactBytes(3)) }
        try store.record(uses(1), log: otherLog, upTo: 2, isReceived: true)
        try store.record([], log: oneLog, upTo: UInt64(page), isReceived: true)
        // Facts of this zone are followed on: what nobody has put is left out.
        #expect(try store.record(uses(2_000), log: otherLog, upTo: 7, isReceived: false) == 200)
        #expect(store.followedOffset(log: otherLog) == 7)

        store.close()
        store = try open(disk, clock)
        #expect(fill() == .full && page < 50)
        while store.index.log.stepMaintainer() {}
        // The facts were truncated.
        let before = store.usage.pending
        _ = try store.sweepAll(
            firstOffsets: [oneLog: UInt64(page) + 1, otherLog: 8], usedBefore: 0, unusedBefore: 0)
        while store.index.log.stepMaintainer() {}
        #expect(before > 2_000 && store.usage.pending == 0)
        let start = page
        #expect(fill() == .full && page - start > 10)
        #expect(try store.bytes(artifactName("kept")) == artifactBytes(1))
        #expect(store.index.log.statistics().fill < 0.8)
        store.close()
    }

    @Test("gateway decision 24: nothing grows old by a clock that jumps")
    func clock() throws {
        let clock = SimulationClock(seed: 1)
        let disk = SimulatedDisk(seed: 1)
        let store = try open(disk, clock)
        let stored = try store.put(artifactName("a"), artifactBytes(1))
        #expect(try store.trustedMilliseconds() == stored.storedMilliseconds)
        let year: Int64 = 365 * 86_400_000
        clock.step(wallMilliseconds: year)
        #expect(try store.trustedMilliseconds() == nil)
        clock.advance(milliseconds: 1_000)
        // The kernel says that the new time is right: what is stored moves along.
        let now = try #require(try store.trustedMilliseconds())
        #expect(now == clock.wallMilliseconds)
        let moved = try #require(store.find(artifactName("a")))
        #expect(now - moved.storedMilliseconds == 1_000)
    }

    @Test func `records are read as they were written, and nothing else is`() throws {
        var entry = ArtifactEntry(name: artifactName("a"))
        defer {
            #expect(ArtifactIndexRecord.name(entry).bytes.count == entry.recordByteCount)
            #expect(entry.reservedByteCount >= entry.recordByteCount)
        }
        entry.expected = artifactContent(artifactBytes(1))
        entry.stored = StoredArtifact(
            name: entry.name, content: artifactContent(artifactBytes(2)), storedMilliseconds: -5)
        entry.uses = [(oneLog, 7), (otherLog, .max)]
        for record in [
            ArtifactIndexRecord.name(entry), .name(ArtifactEntry(name: artifactName("b"))),
            .removed(artifactName("c")), .followed(log: oneLog, offset: 9),
        ] {
            let bytes = record.bytes
            let read = try #require(bytes.withUnsafeBytes { ArtifactIndexRecord($0) })
            #expect(read.bytes == bytes)
            for count in 0..<bytes.count {
                #expect(bytes[..<count].withUnsafeBytes { ArtifactIndexRecord($0) } == nil)
            }
            #expect((bytes + [0]).withUnsafeBytes { ArtifactIndexRecord($0) } == nil)
        }
    }
}
