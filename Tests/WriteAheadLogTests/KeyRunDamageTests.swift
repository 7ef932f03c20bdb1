import Glibc
import Synchronization
import Testing

@testable import WriteAheadLog

@Suite struct KeyRunDamageTests {
    private static let keyCount: UInt64 = 70

    private func smallRun() throws -> (RunDirectory, RunEntry, [UInt8]) {
        let directory = RunDirectory()
        let attachment = [UInt8](repeating: 7, count: 100)
        let entry = try directory.write(
            (0..<KeyRunDamageTests.keyCount).map { keyEntry($0, offset: $0 + 10) },
            offsets: 0..<200, attachment: attachment)
        return (directory, entry, attachment)
    }

    /// Every answer is the right one or `retryLater`, which then is reported.
    private func check(
        _ directory: RunDirectory, _ entry: RunEntry, on disk: MemoryDisk, attachment: [UInt8]
    ) -> Bool {
        let run: KeyRun
        do throws(KeyRunError) { run = try directory.open(entry, on: disk) } catch { return false }
        var isSound = true
        for set in [KeyRunSet(runs: [run]), KeyRunSet(runs: [run]).loaded] {
            let keys = (0..<KeyRunDamageTests.keyCount + 10).map { keyEntry($0).key }
            for (number, answer) in set.lookUp(keys).enumerated() {
                let number = UInt64(number)
                if answer == .retryLater {
                    isSound = false
                    #expect(run.isLost)
                    #expect(set.damagedRuns.count == 1)
                } else {
                    #expect(
                        answer
                            == (number < KeyRunDamageTests.keyCount
                                ? keyEntry(number, offset: number + 10).answer : .absent))
                }
            }
        }
        do throws(KeyRunError) { #expect(try run.attachment() == attachment) } catch {
            isSound = false
            #expect(run.isLost)
        }
        return isSound
    }

    @Test func anySingleBit() throws {
        let (directory, entry, attachment) = try smallRun()
        let path = directory.path(entry)
        let bytes = directory.disk.files[path]!
        var chance = SeededGenerator(seed: SeededGenerator.seed("any single bit"))
        var foundByUse = 0
        // A random bit of every byte that means something, and of a sample of the others.
        let places = bytes.indices.filter { $0 % 4096 < 200 || $0 % 29 == 0 }
        for place in places {
            let bit = UInt8(1) << UInt8.random(in: 0..<8, using: &chance)
            directory.disk.edit(path) { $0[place] ^= bit }
            #expect(try !directory.verify(entry).isEmpty)
            if place % 7 == 0, !check(directory, entry, on: directory.disk, attachment: attachment) {
                foundByUse += 1
            }
            directory.disk.edit(path) { $0[place] ^= bit }
        }
        #expect(foundByUse > 100)
        #expect(check(directory, entry, on: directory.disk, attachment: attachment))
    }

    @Test func cutFiles() throws {
        let (directory, entry, _) = try smallRun()
        let path = directory.path(entry)
        let bytes = directory.disk.files[path]!
        for count in stride(from: 0, to: bytes.count, by: 511) {
            let disk = MemoryDisk(files: [path: Array(bytes.prefix(count))])
            #expect(throws: KeyRunError.self) { try directory.open(entry, on: disk) }
            let damage = try KeyRunInspector.verify(
                disk, directory: logPath, identifier: runIdentifier, entry: entry)
            #expect(!damage.isEmpty)
        }
        // Cut while it is open.
        let run = try directory.open(entry)
        directory.disk.edit(path) { $0.removeLast($0.count - 5000) }
        #expect(KeyRunSet(runs: [run]).answer(keyEntry(1).key) == .retryLater)
        #expect(throws: KeyRunError.self) { try run.attachment() }
    }

    @Test func pagesOfAnotherRunOrPlaceAreRefused() throws {
        let (directory, entry, _) = try smallRun()
        let other = try directory.write(
            (0..<KeyRunDamageTests.keyCount).map { keyEntry($0, offset: $0 + 110) }, offsets: 0..<200)
        let page = 4096..<8192
        let foreign = directory.disk.files[directory.path(other)]!
        directory.disk.edit(directory.path(entry)) { $0.replaceSubrange(page, with: foreign[page]) }
        let least = (0..<KeyRunDamageTests.keyCount).min {
            keyEntry($0).key.compare(keyEntry($1).key) < 0
        }!
        let set = KeyRunSet(runs: [try directory.open(entry)]).loaded
        #expect(set.answer(keyEntry(least).key) == .retryLater)
        // The whole file of another run under this one's name.
        directory.disk.put(directory.path(entry), foreign)
        #expect(throws: KeyRunError.self) { try directory.open(entry) }
        #expect(try !directory.verify(entry).isEmpty)
    }

    @Test func readErrorsAreAnsweredWithRetryLater() throws {
        let (directory, entry, _) = try smallRun()
        let set = KeyRunSet(runs: [try directory.open(entry)])
        directory.disk.setHook { $0.operation == .read ? .error(EIO) : nil }
        #expect(set.answer(keyEntry(1).key) == .retryLater)
        #expect(set.adjusted() == nil)
        #expect(try !directory.verify(entry).isEmpty)
        #expect(set.damagedRuns.count == 1)
        directory.disk.setHook(nil)
        #expect(set.answer(keyEntry(1).key) == keyEntry(1, offset: 11).answer)
    }

    @Test func aKeyFoundInAnotherRunIsFoundInSpiteOfDamage() throws {
        let (directory, damaged, _) = try smallRun()
        let older = try directory.write([keyEntry(500, offset: 5)], offsets: 0..<10)
        directory.disk.edit(directory.path(damaged)) { bytes in
            for place in 4096..<bytes.count { bytes[place] ^= 0x55 }
        }
        let set = KeyRunSet(runs: try [older, damaged].map { try directory.open($0) }).loaded
        #expect(set.answer(keyEntry(500).key) == keyEntry(500, offset: 5).answer)
        #expect(set.answer(keyEntry(501).key) == .retryLater)
        #expect(set.lookUpInMemory(keyEntry(501).key) == nil)
        #expect(set.damagedRuns.map(\.entry) == [damaged])
    }

    // MARK: - Writing

    @Test func aFailedWriteLeavesNoFile() throws {
        let entries = (0..<KeyRunDamageTests.keyCount).map { keyEntry($0) }
        let calls = Mutex(0)
        let counted = RunDirectory()
        counted.disk.setHook { _ in
            calls.withLock { $0 += 1 }
            return nil
        }
        _ = try counted.write(entries)
        let count = calls.withLock { $0 }
        #expect(count >= 5)
        for number in 1...count {
            for fault in [MemoryDisk.Fault.error(ENOSPC), .half(EIO), .afterwards(EIO)] {
                let directory = RunDirectory()
                directory.disk.setHook { $0.number == number ? fault : nil }
                #expect(throws: DiskError.self) { try directory.write(entries) }
                // A file whose creation was answered with an error is not known to be ours.
                if number > 1 { #expect(directory.disk.files.isEmpty) }
                let entry = try directory.write(entries)
                #expect(try directory.verify(entry) == [])
            }
        }
    }

    @Test func whatWasWrittenSurvivesAPowerCut() throws {
        var chance = SeededGenerator(seed: SeededGenerator.seed("power cut"))
        let (directory, entry, attachment) = try smallRun()
        for _ in 0..<5 {
            let disk = directory.disk.afterPowerCut(using: &chance, garbage: true)
            #expect(check(directory, entry, on: disk, attachment: attachment))
        }
    }

    // MARK: - Copies

    @Test func theOtherCopyStandsIn() throws {
        let (directory, single, attachment) = try smallRun()
        let entry = try KeyRunCopies.write(
            .second, of: try directory.open(single), to: directory.disk, directory: logPath)
        #expect(entry.copies == 2)
        let files = directory.disk.files
        #expect(files[directory.path(entry)] == files[directory.path(entry, .second)])
        #expect(files.count == 2)
        #expect(try directory.verify(entry, .second) == [])

        for copy in KeyRunCopy.allCases {
            let disk = MemoryDisk(files: files)
            try disk.remove(directory.path(entry, copy))
            let run = try directory.open(entry, on: disk)
            #expect(run.damagedCopies == [copy])
            #expect(!run.isLost)
            #expect(check(directory, entry, on: disk, attachment: attachment))
            // Writing it again makes both whole.
            _ = try KeyRunCopies.write(copy, of: run, to: disk, directory: logPath)
            #expect(disk.files == files)
            #expect(try directory.open(entry, on: disk).damagedCopies.isEmpty)
        }
    }

    @Test func twoCopiesWithDifferentDamageAreOneWholeRun() throws {
        let (directory, single, attachment) = try smallRun()
        let entry = try KeyRunCopies.write(
            .second, of: try directory.open(single), to: directory.disk, directory: logPath)
        let files = directory.disk.files
        directory.disk.edit(directory.path(entry)) { $0[5000] ^= 1 }
        directory.disk.edit(directory.path(entry, .second)) { $0[9000] ^= 1 }
        let run = try directory.open(entry)
        #expect(run.damagedCopies == [])
        let keys = (0..<KeyRunDamageTests.keyCount).map { keyEntry($0).key }
        let answers = (0..<KeyRunDamageTests.keyCount).map { keyEntry($0, offset: $0 + 10).answer }
        #expect(KeyRunSet(runs: [run]).lookUp(keys) == answers)
        #expect(!run.isLost)
        #expect(run.damagedCopies.contains(.first))
        for copy in KeyRunCopy.allCases {
            _ = try KeyRunCopies.write(copy, of: run, to: directory.disk, directory: logPath)
        }
        #expect(directory.disk.files == files)
        #expect(check(directory, entry, on: directory.disk, attachment: attachment))
        // The same page damaged in both is lost.
        for copy in KeyRunCopy.allCases {
            directory.disk.edit(directory.path(entry, copy)) { $0[5000] ^= 1 }
        }
        let lost = try directory.open(entry)
        #expect(throws: KeyRunError.self) {
            try KeyRunCopies.write(.second, of: lost, to: directory.disk, directory: logPath)
        }
        #expect(lost.isLost)
        #expect(lost.damagedCopies == [.first, .second])
        #expect(directory.disk.files.count == 2, "what was begun is removed, what was there stays")
    }
}
