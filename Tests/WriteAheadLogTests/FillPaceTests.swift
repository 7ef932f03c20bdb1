import Glibc
import Synchronization
import Testing

@testable import WriteAheadLog

@Suite struct FillPaceTests {
    private static let piece = ZeroFill.chunkBytes

    @Test func `A log that commits nothing is no reason to wait`() {
        var pace = FillPace(committedBytes: 7)
        let pauses = (0..<1000).count { _ in
            pace.pauses(after: FillPaceTests.piece, committedBytes: 7)
        }
        #expect(pauses == 0)
    }

    @Test func `Beside commits four bytes are filled for each that they use`() {
        var pace = FillPace(committedBytes: 0)
        var committed: UInt64 = 0
        var filled: UInt64 = 0
        var pauses = 0
        for _ in 0..<4000 {
            committed += 16 << 10
            filled += UInt64(FillPaceTests.piece)
            if pace.pauses(after: FillPaceTests.piece, committedBytes: committed) {
                #expect(filled > 4 * committed)
                pauses += 1
                // What is committed during a pause.
                committed += 80 << 10
            } else {
                #expect(filled <= 4 * committed)
            }
        }
        #expect(pauses > 1000)
        #expect(filled >= 3 * committed)
    }

    @Test(.timeLimit(.minutes(2))) func `A spare that is waited for is filled without pauses`() async throws {
        // 16,384 pieces, which would take five minutes of pauses.
        let disk = ForgetfulDisk()
        let preparer = SegmentPreparer(
            disk: disk, directory: "/log", segmentBytes: 4 << 30, writing: .direct, spareCount: 1,
            nextID: 1)
        disk.wrote = { preparer.committed(bytes: 1) }
        preparer.start(threads: true) { _ in }
        _ = try await Task.detached { try preparer.take() }.value
        preparer.stop()
        #expect(disk.writeCount.load(ordering: .relaxed) >= 16_384)
        disk.wrote = {}
    }

    @Test(.timeLimit(.minutes(2))) func `A log that is closed does not wait for a spare, and leaves no part of one`() {
        let disk = ForgetfulDisk()
        let preparer = SegmentPreparer(
            disk: disk, directory: "/log", segmentBytes: 4 << 30, writing: .direct, spareCount: 1,
            nextID: 1)
        disk.wrote = { usleep(1000) }
        preparer.start(threads: true) { _ in }
        while disk.writeCount.load(ordering: .relaxed) == 0 { usleep(100) }
        preparer.stop()
        #expect(disk.writeCount.load(ordering: .relaxed) < 16_384)
        #expect(disk.removeCount.load(ordering: .relaxed) == 1)
    }

    @Test(.timeLimit(.minutes(2))) func `A log that is closed leaves a removed segment as it is, and makes no file in its place`() {
        let disk = ForgetfulDisk()
        let preparer = SegmentPreparer(
            disk: disk, directory: "/log", segmentBytes: ForgetfulDisk.fileBytes, writing: .direct,
            spareCount: 1, nextID: 8, recyclable: [7])
        disk.wrote = { usleep(1000) }
        preparer.start(threads: true) { _ in }
        while disk.writeCount.load(ordering: .relaxed) == 0 { usleep(100) }
        preparer.stop()
        #expect(disk.createCount.load(ordering: .relaxed) == 0)
        #expect(disk.removeCount.load(ordering: .relaxed) == 0)
    }

    @Test func `Where a file system has no direct writes spares are filled through its cache`() throws {
        let disk = ForgetfulDisk(hasDirectWrites: false)
        let preparer = SegmentPreparer(
            disk: disk, directory: "/log", segmentBytes: 4 << 20, writing: .direct, spareCount: 1,
            nextID: 1)
        #expect(try preparer.take().id == 1)
        #expect(disk.writeCount.load(ordering: .relaxed) == 16)
    }
}

/// Takes everything and keeps nothing.
private final class ForgetfulDisk: Disk {
    static let fileBytes: UInt64 = 4 << 30

    let hasDirectWrites: Bool
    let createCount = Atomic<Int>(0)
    /// Set before anything is written. Not in a `Mutex`: a closure that is read through a generic type is wrapped
    /// once more by each reading, and called through thousands of wrappers in the end.
    nonisolated(unsafe) var wrote: @Sendable () -> Void = {}
    let writeCount = Atomic<Int>(0)
    let removeCount = Atomic<Int>(0)

    init(hasDirectWrites: Bool = true) { self.hasDirectWrites = hasDirectWrites }

    private final class File: DiskFile {
        let disk: ForgetfulDisk
        init(_ disk: ForgetfulDisk) { self.disk = disk }

        func write(_ bytes: UnsafeRawBufferPointer, at position: UInt64) {
            disk.writeCount.wrappingAdd(1, ordering: .relaxed)
            disk.wrote()
        }

        func read(into buffer: UnsafeMutableRawBufferPointer, at position: UInt64) -> Int { 0 }
        func readUncached(into buffer: UnsafeMutableRawBufferPointer, at position: UInt64) -> Int { 0 }
        func synchronise() {}
        func size() -> UInt64 { ForgetfulDisk.fileBytes }
        func linkCount() -> Int { 1 }
    }

    func createDirectory(_ path: String) {}
    func list(_ path: String) -> [String] { [] }
    func open(_ path: String, _ mode: DiskOpenMode) -> any DiskFile {
        if mode == .create { createCount.wrappingAdd(1, ordering: .relaxed) }
        return File(self)
    }
    func openDirect(_ path: String) throws(DiskError) -> any DiskFile {
        guard hasDirectWrites else { throw DiskError(.open, path, code: EINVAL) }
        return File(self)
    }
    func lock(_ path: String, exclusive: Bool) -> (any DiskLock)? { nil }
    func remove(_ path: String) { removeCount.wrappingAdd(1, ordering: .relaxed) }
    func rename(_ path: String, to newPath: String) {}
    func synchroniseDirectory(_ path: String) {}
    func freeBytes(_ path: String) -> UInt64 { .max }
    func blockBytes(_ path: String) -> (logical: UInt32, physical: UInt32) { (512, 4096) }
}
