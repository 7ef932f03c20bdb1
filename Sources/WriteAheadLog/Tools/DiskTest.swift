internal import Glibc

/// Measures how a directory's file system and device make writes durable.
///
/// Writes like a log: into a zero-filled, synced file, one block after the other, each durable before
/// the next. Uses 16 MiB and removes it. Filling the file system is for one that nobody else uses.
package struct DiskTest {
    package static let fileBytes: UInt64 = 16 << 20
    package static let writeBytes = 4096

    /// Emptying a volatile cache means programming flash: some 100 µs at the least. Protected caches
    /// answer faster and are announced to the kernel as none.
    package static let cacheFlushLeastNanoseconds: Int64 = 60_000
    /// 15,000 revolutions a minute are 4 ms each; half of the writes wait for a quarter of one.
    package static let rotationLeastNanoseconds: Int64 = 1_000_000
    /// Of two ways the simpler one, unless the other is faster by a twentieth: less is noise.
    private static let advantageMinimum = 1.05

    private let disk: any MeasurableDisk
    private let directory: String
    private let writeCount: Int
    private let fills: Bool
    private let nanoseconds: @Sendable () -> Int64

    /// - Parameters:
    ///   - writeCount: durable writes by each writer, 1 ... 4,096.
    ///   - fills: whether the file system is filled to its last byte for a moment.
    ///   - nanoseconds: a clock that never jumps.
    package init(
        disk: any MeasurableDisk, directory: String, writeCount: Int = 1000, fills: Bool = false,
        nanoseconds: @escaping @Sendable () -> Int64 = LogEnvironment.linux.monotonicNanoseconds
    ) {
        precondition(
            (1...Int(DiskTest.fileBytes) / DiskTest.writeBytes).contains(writeCount),
            "the writes fit into the file")
        self.disk = disk
        self.directory = directory
        self.writeCount = writeCount
        self.fills = fills
        self.nanoseconds = nanoseconds
    }

    /// Blocks for some seconds.
    ///
    /// - Throws: a `DiskError` for what fails that must not, such as a write with room to spare.
    package func run() throws(DiskError) -> DiskTestReport {
        let path = "\(directory)/bsfg-disk-test"
        // What a run that was killed left behind.
        if try disk.list(directory).contains("bsfg-disk-test") { try disk.remove(path) }
        let file = try disk.open(path, .create)
        do throws(DiskError) {
            let report = try measure(file, path)
            try disk.remove(path)
            return report
        } catch {
            try? disk.remove(path)
            throw error
        }
    }

    private func measure(_ file: any DiskFile, _ path: String) throws(DiskError) -> DiskTestReport {
        let free = try disk.freeBytes(directory)
        let reportsShortWrites = try disk.reportsShortWrites(path)
        try ZeroFill.fill(file, byteCount: DiskTest.fileBytes)
        let synchronised = try time(file, isSynchronous: false)
        let direct = try timeDirect(path)
        let reportsNoSpace = fills ? try tellsOfNoRoom(file) : nil
        let blocks = disk.blockBytes(directory)
        let device = disk.device(directory)
        var suspicions: [DiskTestReport.Suspicion] = []
        if let suspicion = DiskTest.suspicion(of: synchronised.median, device) {
            suspicions.append(suspicion)
        }
        if !reportsShortWrites { suspicions.append(.shortWriteHidden) }
        if reportsNoSpace == false { suspicions.append(.roomPromised) }
        let advantage = direct.map { Double(synchronised.median) / Double(max(1, $0.median)) }
        return DiskTestReport(
            directory: directory, freeBytes: free, logicalBlockBytes: blocks.logical,
            physicalBlockBytes: blocks.physical, device: device, writeBytes: DiskTest.writeBytes,
            synchronised: synchronised, direct: direct, reportsShortWrites: reportsShortWrites,
            reportsNoSpace: reportsNoSpace, suspicions: suspicions,
            recommended: (advantage ?? 0) >= DiskTest.advantageMinimum ? .direct : .synchronised)
    }

    static func suspicion(of median: Int64, _ device: BlockDevice?) -> DiskTestReport.Suspicion? {
        guard let device else { return .noDevice }
        if device.isRotational == true, device.hasVolatileCache != false,
            median < rotationLeastNanoseconds
        {
            return .fasterThanRotation(
                medianNanoseconds: median, leastNanoseconds: rotationLeastNanoseconds)
        }
        if device.hasVolatileCache == true, median < cacheFlushLeastNanoseconds {
            return .fasterThanACache(
                medianNanoseconds: median, leastNanoseconds: cacheFlushLeastNanoseconds)
        }
        return nil
    }

    private func timeDirect(_ path: String) throws(DiskError) -> DiskTestReport.Latency? {
        let file: any DiskFile
        do throws(DiskError) { file = try disk.openDirectSynchronous(path) } catch {
            // tmpfs before Linux 6.6 and some others.
            guard error.code == EINVAL else { throw error }
            return nil
        }
        return try time(file, isSynchronous: true)
    }

    private func time(_ file: any DiskFile, isSynchronous: Bool) throws(DiskError)
        -> DiskTestReport.Latency
    {
        let block = UnsafeMutableRawBufferPointer.allocate(
            byteCount: DiskTest.writeBytes, alignment: 4096)
        defer { block.deallocate() }
        block.initializeMemory(as: UInt8.self, repeating: 0xA5)
        var samples: [Int64] = []
        samples.reserveCapacity(writeCount)
        for index in 0..<writeCount {
            let began = nanoseconds()
            try file.write(
                UnsafeRawBufferPointer(block), at: UInt64(index * DiskTest.writeBytes))
            if !isSynchronous { try file.synchronise() }
            samples.append(nanoseconds() - began)
        }
        return DiskTestReport.Latency(samples)
    }

    /// Writes until there is no room: told by the write that finds none, or only by a flush?
    private func tellsOfNoRoom(_ file: any DiskFile) throws(DiskError) -> Bool {
        let chunkBytes = 1 << 20
        let chunk = UnsafeMutableRawBufferPointer.allocate(byteCount: chunkBytes, alignment: 4096)
        defer { chunk.deallocate() }
        chunk.initializeMemory(as: UInt8.self, repeating: 0x5A)
        var position = DiskTest.fileBytes
        while true {
            do throws(DiskError) {
                try file.write(UnsafeRawBufferPointer(chunk), at: position)
            } catch {
                guard error.code == ENOSPC || error.code == EDQUOT else { throw error }
                return true
            }
            do throws(DiskError) { try file.synchronise() } catch { return false }
            position += UInt64(chunkBytes)
        }
    }
}
