import Facts
import LogSimulation
import Testing

@testable import Buffers

/// One suite for both realisations of the artifact store.
@Suite struct ArtifactConformanceTests {
    @Test(arguments: Realisation.allCases)
    func `bytes are read as they were put`(_ realisation: Realisation) throws {
        let subject = try ArtifactSubject(realisation)
        for (key, count) in [("empty", 0), ("one", 1), ("many", 100_000)] {
            let bytes = artifactBytes(1, count: count)
            let stored = try subject.store.put(artifactName(key), bytes)
            #expect(stored.content.size == UInt64(count))
            #expect(stored.content.digest == SHA256.hash(bytes))
            #expect(stored.content.fileName == "a file")
            #expect(stored.storedMilliseconds == subject.clock.wallMilliseconds)
            #expect(subject.store.find(artifactName(key)) == stored)
            #expect(try subject.store.bytes(artifactName(key)) == bytes)
        }
        #expect(subject.store.usage.names == 3 && subject.store.usage.bytes == 100_001)
        #expect(subject.store.find(artifactName("nothing")) == nil)
    }

    @Test("gateway decision 24: a name is given once", arguments: Realisation.allCases)
    func immutable(_ realisation: Realisation) throws {
        let subject = try ArtifactSubject(realisation)
        let (first, second) = (artifactBytes(1), artifactBytes(2))
        let stored = try subject.store.put(artifactName("a"), first)
        subject.clock.advance(milliseconds: 1_000)
        // The answer is the same; only its age begins anew.
        let again = try subject.store.put(artifactName("a"), first)
        #expect(again.name == stored.name && again.content == stored.content)
        #expect(again.storedMilliseconds == stored.storedMilliseconds + 1_000)
        let error = #expect(throws: ArtifactError.self) {
            try subject.store.put(artifactName("a"), second)
        }
        #expect(error?.kind == .exists(stored: stored.content.digest))
        #expect(try subject.store.bytes(artifactName("a")) == first)
        #expect(subject.store.usage.blobs == 1 && subject.store.usage.reservedBytes == 0)
    }

    @Test("gateway decision 24: names share the blob of their digest", arguments: Realisation.allCases)
    func shared(_ realisation: Realisation) throws {
        let subject = try ArtifactSubject(realisation)
        let bytes = artifactBytes(1)
        for key in ["a", "b"] { try subject.store.put(artifactName(key), bytes) }
        try subject.store.put(artifactName("a", zone: "plant-b"), bytes)
        #expect(subject.store.usage.names == 3 && subject.store.usage.blobs == 1)
        #expect(subject.store.usage.bytes == UInt64(bytes.count))
        let names = subject.store.names(of: SHA256.hash(bytes)).map(\.name.description)
        #expect(
            names == [
                "plant-a/batch-files/a", "plant-a/batch-files/b", "plant-b/batch-files/a",
            ])
    }

    @Test(arguments: Realisation.allCases)
    func `another digest than announced leaves nothing`(_ realisation: Realisation) throws {
        let subject = try ArtifactSubject(realisation)
        let (bytes, other) = (artifactBytes(1), SHA256.hash(artifactBytes(2)))
        let error = #expect(throws: ArtifactError.self) {
            try subject.store.put(artifactName("a"), bytes, expected: other)
        }
        #expect(error?.kind == .digestMismatch(offered: SHA256.hash(bytes)))
        #expect(subject.store.usage == empty(subject))
        try subject.store.put(artifactName("a"), bytes, expected: SHA256.hash(bytes))
    }

    @Test("gateway decision 24: the store has a capacity of its own", arguments: Realisation.allCases)
    func capacity(_ realisation: Realisation) throws {
        let subject = try ArtifactSubject(realisation, capacityBytes: 25_000)
        try subject.store.put(artifactName("a"), artifactBytes(1))
        let upload = try subject.store.beginUpload(expectedBytes: 10_000)
        #expect(subject.store.usage.reservedBytes == 10_000)
        let error = #expect(throws: ArtifactError.self) {
            try subject.store.put(artifactName("c"), artifactBytes(3))
        }
        #expect(error?.kind == .full)
        upload.abandon()
        try subject.store.put(artifactName("c"), artifactBytes(3))
        #expect(subject.store.usage.bytes == 20_000 && subject.store.usage.reservedBytes == 0)
        #expect(throws: ArtifactError.self) {
            try subject.store.beginUpload(expectedBytes: .max)
        }
    }

    @Test(arguments: Realisation.allCases)
    func `an upload that is let go of leaves nothing`(_ realisation: Realisation) throws {
        let subject = try ArtifactSubject(realisation)
        do {
            let upload = try subject.store.beginUpload(expectedBytes: 4_000)
            try upload.write(artifactBytes(1, count: 4_000))
        }
        #expect(subject.store.usage == empty(subject))
    }

    @Test(arguments: Realisation.allCases)
    func `bytes stay readable for whoever reads them`(_ realisation: Realisation) throws {
        let subject = try ArtifactSubject(realisation)
        let bytes = artifactBytes(1)
        let stored = try subject.store.put(artifactName("a"), bytes)
        let reader = try subject.store.open(stored.content.digest)
        #expect(try subject.store.sweepAll().names == 1)
        #expect(try reader.read(at: 0, count: 20_000) == bytes)
        #expect(throws: ArtifactError.self) { try subject.store.open(stored.content.digest) }
    }

    // MARK: - What facts refer to

    @Test("gateway decision 24: what a received fact refers to is pending until it is here",
        arguments: Realisation.allCases)
    func pending(_ realisation: Realisation) throws {
        let subject = try ArtifactSubject(realisation)
        let store = subject.store
        let bytes = artifactBytes(1)
        let (early, own) = (artifactName("early"), artifactName("own"))
        try store.record([store.use(early, bytes, at: 7)], log: oneLog, upTo: 9, isReceived: true)
        try store.record([store.use(own, bytes, at: 3)], log: otherLog, upTo: 4, isReceived: false)
        #expect(store.followedOffset(log: oneLog) == 9 && store.followedOffset(log: otherLog) == 4)
        #expect(store.list(after: nil, count: 9, isPending: true).map(\.name) == [early])
        #expect(store.entry(early)?.expected == artifactContent(bytes))
        #expect(store.entry(own)?.isPending == false)
        try store.put(early, bytes)
        #expect(store.usage.pending == 0)
        #expect(store.list(after: nil, count: 9, isPending: false).map(\.name) == [early, own])
        #expect(store.list(after: early, count: 9, isPending: false).map(\.name) == [own])
    }

    @Test(
        "gateway decision 24: what a fact that is still there refers to is not swept",
        arguments: Realisation.allCases)
    func used(_ realisation: Realisation) throws {
        let subject = try ArtifactSubject(realisation)
        let store = subject.store
        let bytes = artifactBytes(1)
        let name = artifactName("a")
        try store.put(name, bytes)
        try store.record([store.use(name, bytes, at: 5)], log: oneLog, upTo: 6, isReceived: false)
        try store.record([store.use(name, bytes, at: 2)], log: oneLog, upTo: 7, isReceived: false)
        try store.record([store.use(name, bytes, at: 9)], log: otherLog, upTo: 10, isReceived: false)
        // The highest reference of each log counts, and a log that is not open keeps what it refers to.
        #expect(try store.sweepAll(firstOffsets: [oneLog: 5, otherLog: 10]).names == 0)
        #expect(try store.sweepAll(firstOffsets: [oneLog: 6, otherLog: 9]).names == 0)
        #expect(try store.sweepAll(firstOffsets: [oneLog: 6]).names == 0)
        let report = try store.sweepAll(firstOffsets: [oneLog: 6, otherLog: 10])
        #expect(report.names == 1 && report.blobs == 1 && report.bytes == UInt64(bytes.count))
        #expect(store.find(name) == nil && store.usage == empty(subject))
    }

    @Test(
        "gateway decision 24: retention and grace are counted from the upload",
        arguments: Realisation.allCases)
    func ages(_ realisation: Realisation) throws {
        let subject = try ArtifactSubject(realisation)
        let store = subject.store
        let (used, unused) = (artifactName("used"), artifactName("unused"))
        try store.put(used, artifactBytes(1))
        try store.put(unused, artifactBytes(2))
        try store.record(
            [store.use(used, artifactBytes(1), at: 0)], log: oneLog, upTo: 1, isReceived: false)
        let time = subject.clock.wallMilliseconds
        let gone = [oneLog: UInt64(1)]
        #expect(
            try store.sweepAll(firstOffsets: gone, usedBefore: time, unusedBefore: time).names == 0)
        #expect(
            try store.sweepAll(firstOffsets: gone, usedBefore: time, unusedBefore: time + 1).names
                == 1)
        #expect(store.find(unused) == nil && store.find(used) != nil)
        #expect(
            try store.sweepAll(firstOffsets: gone, usedBefore: time + 1, unusedBefore: time).names
                == 1)
    }

    @Test(
        "gateway decision 24: what is put again is as young as a new upload",
        arguments: Realisation.allCases)
    func renewed(_ realisation: Realisation) throws {
        let subject = try ArtifactSubject(realisation)
        let store = subject.store
        let (again, once) = (artifactName("again"), artifactName("once"))
        try store.put(again, artifactBytes(1))
        try store.put(once, artifactBytes(2))
        subject.clock.advance(milliseconds: 60_000)
        let time = subject.clock.wallMilliseconds
        try store.put(again, artifactBytes(1))
        // A producer was told that its bytes are here, and has its grace to refer to them.
        #expect(try store.sweepAll(usedBefore: time, unusedBefore: time).names == 1)
        #expect(store.find(again) != nil && store.find(once) == nil)
    }

    @Test("gateway decision 24: a pin holds through a sweep", arguments: Realisation.allCases)
    func pins(_ realisation: Realisation) throws {
        let subject = try ArtifactSubject(realisation)
        let store = subject.store
        let name = artifactName("a")
        #expect(store.pin(name) == nil)
        try store.put(name, artifactBytes(1))
        var pin = store.pin(name)
        #expect(pin != nil)
        #expect(try store.sweepAll().names == 0)
        // The sweep had begun when the fact that held it became durable: it may refer to it.
        let generation = store.beginSweep()
        pin = store.pin(name)
        pin = nil
        #expect(pin == nil)
        let rules = ArtifactSweepRules(
            firstOffsets: [:], usedBefore: .max, unusedBefore: .max, generation: generation)
        #expect(try store.sweep(rules).names == 0)
        #expect(try store.sweepAll().names == 1)
    }

    @Test(arguments: Realisation.allCases)
    func `names are compared as bytes`(_ realisation: Realisation) throws {
        let subject = try ArtifactSubject(realisation)
        // Both are é for a reader, and two names.
        let (composed, decomposed) = (artifactName("\u{E9}"), artifactName("e\u{301}"))
        try subject.store.put(composed, artifactBytes(1))
        #expect(subject.store.find(decomposed) == nil)
        try subject.store.put(decomposed, artifactBytes(2))
        #expect(subject.store.usage.names == 2)
    }

    private func empty(_ subject: ArtifactSubject) -> ArtifactUsage {
        var usage = ArtifactUsage()
        usage.capacityBytes = subject.store.usage.capacityBytes
        return usage
    }
}
