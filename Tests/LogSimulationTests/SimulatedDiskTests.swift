import Testing

@testable import LogSimulation
@testable import WriteAheadLog

@Suite("The simulated disk")
struct SimulatedDiskTests {
    static let path = "/log/file"

    /// A disk with a synced file of 8 KiB of ones.
    static func disk(_ faults: [FaultTrigger] = []) throws -> (SimulatedDisk, any DiskFile) {
        let disk = SimulatedDisk()
        let file = try disk.open(path, .create)
        try file.write(array: [UInt8](repeating: 1, count: 8192), at: 0)
        try file.synchronise()
        try disk.synchroniseDirectory("/log")
        disk.setFaults(faults)
        return (disk, file)
    }

    static func read(_ file: any DiskFile, _ range: Range<Int>, uncached: Bool = false) throws
        -> [UInt8]
    {
        var bytes = [UInt8](repeating: 0xEE, count: range.count)
        let count = try bytes.withUnsafeMutableBytes { buffer in
            uncached
                ? try file.readUncached(into: buffer, at: UInt64(range.lowerBound))
                : try file.read(into: buffer, at: UInt64(range.lowerBound))
        }
        return Array(bytes[..<count])
    }

    @Test("a snapshot does not change with what is written after it")
    func snapshots() throws {
        let (disk, file) = try Self.disk()
        let snapshot = disk.snapshot
        try file.write(array: [2, 2, 2], at: 4095)
        #expect(snapshot.bytes(Self.path, 4094..<4099) == [1, 1, 1, 1, 1])
        #expect(disk.snapshot.bytes(Self.path, 4094..<4099) == [1, 2, 2, 2, 1])
        #expect(snapshot.isSynced && !disk.snapshot.isSynced)
    }

    @Test("bytes read back as written, over page borders, and zeros where nothing was written")
    func bytes() {
        var random = SimulationRandom(seed: 7)
        var pages = PagedBytes()
        var flat: [UInt8] = []
        for _ in 0..<300 {
            let bytes =
                random.oneIn(3)
                ? [UInt8](repeating: 0, count: random.below(9000)) : random.bytes(random.below(9000))
            let position = random.below(40_000)
            if random.oneIn(10) {
                let size = random.below(50_000)
                pages.resize(to: size)
                flat = Array(flat.prefix(size)) + [UInt8](repeating: 0, count: max(0, size - flat.count))
            }
            pages.write(bytes, at: position)
            flat += [UInt8](repeating: 0, count: max(0, position + bytes.count - flat.count))
            flat.replaceSubrange(position..<position + bytes.count, with: bytes)
            #expect(pages.count == flat.count)
            #expect(pages.bytes(0..<pages.count) == flat)
        }
    }

    @Test("a power cut leaves each unsynced sector old or new, and synced ones alone")
    func powerCut() throws {
        let (disk, file) = try Self.disk()
        try file.write(array: [UInt8](repeating: 2, count: 1024), at: 3584)
        var random = SimulationRandom(seed: 1)
        var seen = Set<[UInt8]>()
        for _ in 0..<200 {
            let image = PowerCut(garbage: false).draw(from: disk.snapshot, using: &random)
            let bytes = try #require(image.bytes(Self.path, 0..<8192))
            #expect(bytes.count == 8192 && bytes[..<3584].allSatisfy { $0 == 1 })
            #expect(bytes[4608...].allSatisfy { $0 == 1 })
            #expect(Set(bytes[3584..<4096]).count == 1 && Set(bytes[4096..<4608]).count == 1)
            seen.insert([bytes[3584], bytes[4096]])
        }
        #expect(seen == [[1, 1], [1, 2], [2, 1], [2, 2]])
    }

    @Test("with garbage an unsynced piece holds anything, a synced one does not")
    func garbage() throws {
        let (disk, file) = try Self.disk()
        try file.write(array: [UInt8](repeating: 2, count: 512), at: 0)
        var random = SimulationRandom(seed: 1)
        var strange = 0
        for _ in 0..<200 {
            let image = PowerCut(garbage: true).draw(from: disk.snapshot, using: &random)
            let bytes = try #require(image.bytes(Self.path, 0..<8192))
            if bytes[..<512].contains(where: { $0 > 2 }) { strange += 1 }
            #expect(bytes[4096...].allSatisfy { $0 == 1 })
        }
        #expect(strange > 10)
    }

    @Test("a name is there after a power cut once its directory was synced, and perhaps before")
    func names() throws {
        let (disk, _) = try Self.disk()
        _ = try disk.open("/log/new", .create)
        try disk.rename(Self.path, to: "/log/renamed")
        var random = SimulationRandom(seed: 1)
        var seen = Set<[String]>()
        for _ in 0..<100 {
            seen.insert(PowerCut(garbage: false).draw(from: disk.snapshot, using: &random).paths)
        }
        #expect(
            seen == [
                ["/log/file"], ["/log/file", "/log/new"], ["/log/renamed"],
                ["/log/new", "/log/renamed"],
            ])
        try disk.synchroniseDirectory("/log")
        let image = PowerCut(garbage: false).draw(from: disk.snapshot, using: &random)
        #expect(image.paths == ["/log/new", "/log/renamed"])
    }

    @Test("after a failed sync the three kinds of file systems behave as they do")
    func failedSync() throws {
        for fault in [
            DiskFault.syncErrorCleanPages, .syncErrorReverted, .syncErrorKeptDirty,
        ] {
            let (disk, file) = try Self.disk([FaultTrigger(fault, .call(1))])
            // Many pieces, so that some of them are lost for certain.
            for place in 0..<16 { try file.write(array: [9], at: UInt64(place * 512)) }
            #expect(throws: DiskError.self) { try file.synchronise() }
            try file.synchronise()
            let cached = try Self.read(file, 0..<8192).filter { $0 == 9 }.count
            let device = try Self.read(file, 0..<8192, uncached: true).filter { $0 == 9 }.count
            switch fault {
            case .syncErrorKeptDirty: #expect(cached == 16 && device == 16)
            case .syncErrorCleanPages: #expect(cached == 16 && device <= 16)
            default: #expect(cached == device)
            }
            #expect(disk.firedFaults == [fault: 1])
        }
    }

    @Test("a lost write is read back until the cache is passed by, a lying flush makes nothing durable")
    func silent() throws {
        let (_, file) = try Self.disk([FaultTrigger(.lostWrite, .call(1))])
        try file.write(array: [5], at: 10)
        try file.synchronise()
        #expect(try Self.read(file, 10..<11) == [5])
        #expect(try Self.read(file, 10..<11, uncached: true) == [1])

        let (disk, lied) = try Self.disk([FaultTrigger(.lyingFlush, .always)])
        try lied.write(array: [5], at: 10)
        try lied.synchronise()
        #expect(!disk.snapshot.isSynced)
    }

    @Test("a full disk refuses what would make a file longer and nothing else")
    func full() throws {
        let (disk, file) = try Self.disk()
        disk.setCapacity(bytes: 8192)
        #expect(try disk.freeBytes("/log") == 0)
        try file.write(array: [3], at: 8191)
        #expect(throws: DiskError(.write, Self.path, code: 28)) {
            try file.write(array: [3], at: 8192)
        }
        disk.setCapacity(bytes: 8193)
        try file.write(array: [3], at: 8192)
    }

    @Test("short, torn and misdirected writes and rot leave what their names say")
    func writes() throws {
        let (_, short) = try Self.disk([FaultTrigger(.shortWrite, .call(1))])
        #expect(throws: DiskError.self) {
            try short.write(array: [UInt8](repeating: 7, count: 1024), at: 0)
        }
        #expect(try Self.read(short, 0..<8192).filter { $0 == 7 }.count == 512)

        for fault in [DiskFault.tornWrite, .misdirectedWrite, .bitRot] {
            let (disk, file) = try Self.disk([FaultTrigger(fault, .call(1))])
            let new = [UInt8](repeating: 7, count: 1024)
            try file.write(array: new, at: 0)
            try file.synchronise()
            #expect(try Self.read(file, 0..<1024) == new)
            #expect(try Self.read(file, 0..<1024, uncached: true) != new)
            #expect(disk.firedFaults == [fault: 1])
        }
    }
}
