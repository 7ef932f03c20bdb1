internal import Glibc

/// A file of numbered blocks, the newest of which a power cut must not take: the part of the honesty
/// test that is on the disk under test.
///
/// Number n lies in block n modulo the block count; each is durable before the next is written.
///
///     offset  bytes  field
///     0       8      "BSFGNUMB"
///     8       8      number, from 1 on
///     16      16     the run, chosen when the file is made
///     32      4      CRC-32C of bytes 0 ..< 32
///     36      4060   the number's lowest byte, again and again
package final class NumberedBlocks {
    package static let fileName = "bsfg-disk-test-numbers"
    package static let blockBytes = 4096
    package static let blockCount = 1024

    private static let magic: UInt64 = 0x424D_554E_4746_5342

    package let run: LogIdentifier
    package private(set) var number: UInt64 = 0
    private let file: any DiskFile
    private let block: UnsafeMutableRawBufferPointer

    private init(_ file: any DiskFile, run: LogIdentifier) {
        self.file = file
        self.run = run
        block = .allocate(byteCount: NumberedBlocks.blockBytes, alignment: 4096)
    }

    deinit { block.deallocate() }

    /// Makes the file in a directory, zero-filled and durable, in place of an older one.
    package static func create(_ disk: any Disk, directory: String, run: LogIdentifier)
        throws(DiskError) -> NumberedBlocks
    {
        let path = "\(directory)/\(fileName)"
        if try disk.list(directory).contains(fileName) { try disk.remove(path) }
        let file = try disk.open(path, .create)
        try ZeroFill.fill(file, byteCount: UInt64(blockCount * blockBytes))
        try disk.synchroniseDirectory(directory)
        return NumberedBlocks(file, run: run)
    }

    /// Makes the next number durable and returns it. Blocks.
    package func writeNext() throws(DiskError) -> UInt64 {
        number += 1
        let start = block.baseAddress!
        start.set(NumberedBlocks.magic, at: 0)
        start.set(number, at: 8)
        run.bytes.withUnsafeBytes { (start + 16).copyMemory(from: $0.baseAddress!, byteCount: 16) }
        start.set(Checksum.extend(0, start, 32), at: 32)
        (start + 36).initializeMemory(
            as: UInt8.self, repeating: UInt8(truncatingIfNeeded: number),
            count: NumberedBlocks.blockBytes - 36)
        try file.write(
            UnsafeRawBufferPointer(block), at: NumberedBlocks.position(of: number))
        try file.synchronise()
        return number
    }

    /// What the disk holds after a power cut.
    package struct Found: Hashable, Sendable {
        /// nil when no block verifies.
        package var run: LogIdentifier?
        package var greatest: UInt64
        /// Numbers of the last `blockCount` up to `greatest` whose block does not verify: overwritten
        /// with an older one, torn or never written.
        package var missing: [UInt64]
    }

    /// Reads the file past the page cache.
    package static func find(_ disk: any Disk, directory: String) throws(DiskError) -> Found {
        let file = try disk.open("\(directory)/\(fileName)", .read)
        let buffer = UnsafeMutableRawBufferPointer.allocate(
            byteCount: blockCount * blockBytes, alignment: 4096)
        defer { buffer.deallocate() }
        let count = try file.readUncached(into: buffer, at: 0)
        var numbers = Set<UInt64>()
        var found = Found(run: nil, greatest: 0, missing: [])
        for index in 0..<(count / blockBytes) {
            let bytes = UnsafeRawBufferPointer(
                rebasing: buffer[(index * blockBytes)..<((index + 1) * blockBytes)])
            guard let (number, run) = verify(bytes), number % UInt64(blockCount) == UInt64(index)
            else { continue }
            numbers.insert(number)
            if number > found.greatest {
                found.greatest = number
                found.run = run
            }
        }
        let window = UInt64(blockCount)
        let first = found.greatest > window ? found.greatest - window + 1 : 1
        // Not a range to its end: the greatest of all numbers has nothing behind it.
        var number = found.greatest
        while number >= first, number > 0 {
            if !numbers.contains(number) { found.missing.append(number) }
            number -= 1
        }
        return found
    }

    private static func verify(_ bytes: UnsafeRawBufferPointer) -> (UInt64, LogIdentifier)? {
        let start = bytes.baseAddress!
        guard start.integer(UInt64.self, at: 0) == magic,
            start.integer(UInt32.self, at: 32) == Checksum.extend(0, start, 32)
        else { return nil }
        let number = start.integer(UInt64.self, at: 8)
        guard bytes[36...].allSatisfy({ $0 == UInt8(truncatingIfNeeded: number) }) else { return nil }
        return (number, LogIdentifier(bytes: Array(bytes[16..<32])))
    }

    private static func position(of number: UInt64) -> UInt64 {
        number % UInt64(blockCount) * UInt64(blockBytes)
    }
}
