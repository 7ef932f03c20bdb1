import Buffers
import Facts
import Foundation
import RPC
import Replication
import SwiftProtobuf
import Testing
import WriteAheadLog

@testable import Gateway

@Suite struct ServicesFederationTests {
    private let receiver = SourcePosition(
        logUUID: [UInt8](repeating: 5, count: 16), epoch: 1, nextOffset: 0)
    private let name = "plant-a/facts.operational/enterprise"

    private func request(_ change: (inout Bsfg_V1_OpenCursorRequest) -> Void = { _ in })
        -> Bsfg_V1_OpenCursorRequest
    {
        var request = Bsfg_V1_OpenCursorRequest()
        request.consumerName = name
        request.stream = "facts.operational"
        request.originZone = "enterprise"
        request.initMode = "full_backfill"
        request.receiver = receiver.wire
        request.profile = "standard"
        change(&request)
        return request
    }

    private func open(
        _ bench: ServicesBench, _ change: (inout Bsfg_V1_OpenCursorRequest) -> Void = { _ in }
    ) async throws -> Bsfg_V1_OpenCursorResponse {
        try await bench.call(
            Bsfg_V1_OpenCursorResponse.self, .openCursor, request(change), as: .peer("plant-a"))
    }

    private func refusal(
        _ bench: ServicesBench, as caller: Caller = .peer("plant-a"),
        _ change: (inout Bsfg_V1_OpenCursorRequest) -> Void
    ) async throws -> ErrorReason? {
        try await bench.error(.openCursor, request(change), as: caller)?.reason
    }

    private func position(_ bench: ServicesBench, _ next: UInt64) throws -> SourcePosition {
        let buffer = bench.log().buffer
        var position = SourcePosition(
            logUUID: buffer.identifier, epoch: buffer.epoch, nextOffset: next)
        if next > 0 {
            position.digest = try buffer.recordDigest(at: next - 1)
            position.digestOffset = next - 1
        }
        return position
    }

    // MARK: - Hello

    @Test func `hello and streams tell a peer what is here for it`() async throws {
        let bench = try ServicesBench()
        try await bench.append(0..<3)
        let hello = try await bench.call(
            Bsfg_V1_HelloResponse.self, .hello, #"{"zone":"plant-a","format_max":1}"#,
            as: .peer("plant-a"))
        #expect(hello.zone == "enterprise" && hello.callerPeerID == "plant-a")
        #expect(hello.callerIdentity == "plant-a-bsfg" && hello.formatMax == 1)
        #expect(hello.pageBytesMax == 6 << 20 && hello.recordBytesMax == 4 << 20)
        let streams = try await bench.call(
            Bsfg_V1_ListStreamsResponse.self, .listStreams, "{}", as: .peer("plant-a"))
        #expect(streams.streams.map(\.stream) == ["facts.operational", "facts.safety"])
        #expect(streams.streams[0].head.offset == 3)
        #expect(streams.streams[1].profile == "sil_strict")
        #expect(!streams.streams[0].hasConfirmedOffset)
        let none = try await bench.call(
            Bsfg_V1_ListStreamsResponse.self, .listStreams, "{}", as: .peer("plant-b"))
        #expect(none.streams.isEmpty)
        await bench.close()
    }

    // MARK: - Initialisation

    @Test func `modes are resolved here and repeating returns the same`() async throws {
        for (mode, expected, told) in [
            ("full_backfill", 0, "full_backfill"), ("start_now", 4, "start_now"),
            ("bounded_backfill_24h", 0, "bounded_backfill_24h"), ("", 0, "bounded_backfill_24h"),
        ] as [(String, UInt64, String)] {
            let bench = try ServicesBench()
            try await bench.append(0..<4)
            let dry = try await open(bench) {
                $0.initMode = mode
                $0.dryRun = true
            }
            #expect(dry.start.offset == expected && !dry.existing && dry.initMode == told)
            #expect(bench.log().cursors.cursors().isEmpty)
            let opened = try await open(bench) { $0.initMode = mode }
            #expect(opened.start.offset == expected && !opened.existing, "\(mode)")
            #expect(opened.start.hasOffset && opened.headOffset == 4)
            #expect(Array(opened.start.logUuid) == bench.log().log.identifier.bytes)
            #expect(opened.epochs.count == 1 && opened.resolvedAtUnixMs > 0)
            try await bench.append(4..<6)
            let again = try await open(bench) { $0.initMode = "start_now" }
            #expect(again.start.offset == expected && again.existing && again.initMode == told)
            await bench.close()
        }
    }

    @Test("gateway decision 12: how long truncation waits for a peer is its grant's, also when that changes")
    func holdsFollowGrants() async throws {
        let bench = try ServicesBench(
            peers: ServicesBench.peers.replacing(
                "authorized: true, streams: [facts.operational, facts.safety]}",
                with: "authorized: true, streams: [facts.operational], required: false, "
                    + "max_lag: [7d, 1GiB]}"))
        try await bench.append(0..<2)
        _ = try await open(bench)
        func hold() -> CursorHold? {
            bench.log().cursors.cursor(owner: "plant-a-bsfg", name: name)?.hold
        }
        let granted = CursorHold.upTo(lagBytes: 1 << 30, lagMilliseconds: 7 * 86_400_000)
        #expect(hold() == granted)
        // As it was before the grant changed.
        try bench.log().cursors.change(owner: "plant-a-bsfg", name: name, hold: .required)
        let looked = try await open(bench) { $0.dryRun = true }
        #expect(looked.existing && hold() == .required, "a dry run changes nothing")
        #expect(try await open(bench).existing)
        #expect(hold() == granted)
        await bench.close()
    }

    @Test("gateway decision 12: sil_strict refuses a cursor that need not be waited for")
    func strictCursorsAreRequired() async throws {
        let bench = try ServicesBench()
        let cursors = bench.log("facts.safety").cursors
        #expect(throws: BufferError.self) {
            try cursors.create(
                TrackedCursor(
                    owner: "x", name: "x", nextOffset: 0,
                    hold: .upTo(lagBytes: 1, lagMilliseconds: nil)))
        }
        try cursors.create(TrackedCursor(owner: "x", name: "x", nextOffset: 0))
        #expect(throws: BufferError.self) {
            try cursors.change(
                owner: "x", name: "x", hold: .upTo(lagBytes: 1, lagMilliseconds: nil))
        }
        #expect(cursors.cursor(owner: "x", name: "x")?.hold == .required)
        await bench.close()
    }

    @Test func `two calls at once open one cursor`() async throws {
        let bench = try ServicesBench()
        try await bench.append(0..<4)
        try await withThrowingTaskGroup(of: UInt64.self) { group in
            for _ in 0..<8 { group.addTask { try await self.open(bench).start.offset } }
            for try await offset in group { #expect(offset == 0) }
        }
        #expect(bench.log().cursors.cursors().count == 1)
        await bench.close()
    }

    @Test func `what does not fit is refused by its reason`() async throws {
        let bench = try ServicesBench()
        try await bench.append(0..<2)
        #expect(try await refusal(bench) { $0.stream = "facts.audit" } == .streamNotGranted)
        #expect(try await refusal(bench) { $0.stream = "no" } == .streamNotGranted)
        #expect(try await refusal(bench) { $0.originZone = "plant-b" } == .originNotGranted)
        #expect(try await refusal(bench) { $0.profile = "sil_strict" } == .profileMismatch)
        #expect(try await refusal(bench) { $0.consumerName = "other" } == .consumerBound)
        #expect(try await refusal(bench) { $0.clearReceiver() } == .missingField)
        #expect(try await refusal(bench) { $0.receiver.logUuid = Data([1]) } == .missingField)
        #expect(try await refusal(bench) { $0.initMode = "whenever" } == .initOutOfRange)
        #expect(try await refusal(bench) { $0.initMode = "explicit_timestamp" } == .missingField)
        #expect(
            try await refusal(bench) { $0.position = Bsfg_V1_Position() } == .malformedRequest)
        #expect(
            try await refusal(bench, as: .operator) { _ in } == .identityNotAuthorised)
        #expect(bench.log().cursors.cursors().isEmpty)
        _ = try await open(bench)
        // Another receiver log of the same peer, or another life of it.
        #expect(
            try await refusal(bench) { $0.receiver.logUuid[0] ^= 1 } == .consumerBound)
        #expect(try await refusal(bench) { $0.receiver.epoch = 2 } == .historyMismatch)
        await bench.close()
    }

    @Test func `a source that lost its cursor begins at the receiver's position`() async throws {
        let bench = try ServicesBench()
        try await bench.append(0..<5)
        let known = try position(bench, 3)
        let opened = try await open(bench) { $0.position = known.wire }
        #expect(opened.start.offset == 3 && opened.initMode == "position" && !opened.existing)
        let cursor = bench.log().cursors.cursor(owner: "plant-a-bsfg", name: name)
        #expect(cursor?.nextOffset == 3 && cursor?.digest == known.digest)
        await bench.close()
        // But not where its history is another one.
        let other = try ServicesBench()
        try await other.append(0..<5)
        #expect(try await refusal(other) { $0.position = known.wire } == .historyMismatch)
        var forged = try position(other, 3)
        forged.digest = SHA256.hash([1])
        #expect(try await refusal(other) { $0.position = forged.wire } == .historyMismatch)
        #expect(
            try await refusal(other) {
                $0.position = try! position(other, 5).wire
                $0.position.offset = 6
            } == .historyMismatch)
        #expect(other.log().cursors.cursors().isEmpty)
        await other.close()
    }

    // MARK: - History on every call

    private func fetch(_ position: SourcePosition?, _ receiver: SourcePosition?)
        -> Bsfg_V1_FetchFactsRequest
    {
        var request = Bsfg_V1_FetchFactsRequest()
        request.consumerName = name
        if let position { request.source = position.wire }
        if let receiver { request.receiver = receiver.wire }
        return request
    }

    private func confirm(_ position: SourcePosition?, _ receiver: SourcePosition?, _ offset: UInt64)
        -> Bsfg_V1_ConfirmReceiptRequest
    {
        var request = Bsfg_V1_ConfirmReceiptRequest()
        request.consumerName = name
        request.offset = offset
        if let position { request.source = position.wire }
        if let receiver { request.receiver = receiver.wire }
        return request
    }

    @Test func `a peer's call without its history is refused`() async throws {
        let bench = try ServicesBench()
        try await bench.append(0..<3)
        _ = try await open(bench)
        let position = try position(bench, 2)
        for (position, receiver, field) in [
            (nil, receiver, "source"), (position, nil, "receiver"),
        ] as [(SourcePosition?, SourcePosition?, String)] {
            let fetched = try await bench.error(
                .fetchFacts, fetch(position, receiver), as: .peer("plant-a"))
            #expect(fetched?.reason == .missingField && fetched?.field == field)
            let confirmed = try await bench.error(
                .confirmReceipt, confirm(position, receiver, 1), as: .peer("plant-a"))
            #expect(confirmed?.reason == .missingField && confirmed?.field == field)
        }
        await bench.close()
    }

    @Test func `a peer fetches and confirms along one history`() async throws {
        let bench = try ServicesBench()
        try await bench.append(0..<4)
        _ = try await open(bench)
        let peer = Caller.peer("plant-a")
        let page = try await bench.call(
            Bsfg_V1_FetchFactsResponse.self, .fetchFacts, fetch(try position(bench, 0), receiver),
            as: peer)
        #expect(page.entries.count == 4)
        let moved = try await bench.call(
            Bsfg_V1_ConfirmReceiptResponse.self, .confirmReceipt,
            confirm(try position(bench, 3), receiver, 2), as: peer)
        #expect(moved.nextOffset == 3 && moved.cursorAdvancedTo == 2)
        let cursor = bench.log().cursors.cursor(owner: "plant-a-bsfg", name: name)
        #expect(try cursor?.digest == position(bench, 3).digest && cursor?.digestOffset == 2)
        // The offset is that of the position and nothing else.
        #expect(
            try await bench.error(
                .confirmReceipt, confirm(try position(bench, 4), receiver, 2), as: peer)?.reason
                == .malformedRequest)
        // Confirming the same again changes nothing.
        let same = try await bench.call(
            Bsfg_V1_ConfirmReceiptResponse.self, .confirmReceipt,
            confirm(try position(bench, 3), receiver, 2), as: peer)
        #expect(same.nextOffset == 3)
        await bench.close()
    }

    @Test func `another history is refused on fetch and on confirm`() async throws {
        let bench = try ServicesBench()
        try await bench.append(0..<4)
        _ = try await open(bench)
        let peer = Caller.peer("plant-a")
        _ = try await bench.call(
            Bsfg_V1_ConfirmReceiptResponse.self, .confirmReceipt,
            confirm(try position(bench, 2), receiver, 1), as: peer)
        var (otherLog, otherEpoch, otherRecord, beyond) = (
            try position(bench, 3), try position(bench, 3), try position(bench, 3),
            try position(bench, 4)
        )
        otherLog.logUUID[0] ^= 1
        otherEpoch.epoch = 2
        otherRecord.digest = SHA256.hash([1])
        beyond.nextOffset = 5
        let below = try position(bench, 1)
        var bare = try position(bench, 2)
        (bare.digest, bare.digestOffset) = (nil, nil)
        for wrong in [otherLog, otherEpoch, otherRecord, beyond, below, bare] {
            #expect(
                try await bench.error(.fetchFacts, fetch(wrong, receiver), as: peer)?.reason
                    == .historyMismatch)
            #expect(
                try await bench.error(
                    .confirmReceipt, confirm(wrong, receiver, wrong.nextOffset - 1), as: peer)?
                    .reason == .historyMismatch)
        }
        var (clone, restored) = (receiver, receiver)
        clone.logUUID[0] ^= 1
        restored.epoch = 2
        let position = try position(bench, 3)
        for (wrong, reason) in [
            (clone, ErrorReason.consumerBound), (restored, .historyMismatch),
        ] {
            #expect(
                try await bench.error(.fetchFacts, fetch(position, wrong), as: peer)?.reason
                    == reason)
            #expect(
                try await bench.error(.confirmReceipt, confirm(position, wrong, 2), as: peer)?
                    .reason == reason)
        }
        #expect(
            bench.log().cursors.cursor(owner: "plant-a-bsfg", name: name)?.nextOffset == 2)
        await bench.close()
    }
}
