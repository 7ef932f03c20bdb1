import Facts
import RPC
import SwiftProtobuf
import Testing

@testable import Buffers
@testable import Gateway

/// PutObject, GetObject, grants, and what an append asks of references.
@Suite struct ArtifactServiceTests {

    /// A service over a store in memory.
    private struct Bench {
        let configuration: NodeConfiguration
        let store: MemoryArtifactStore
        let pool = BlockingPool(name: "test-artifact", threadCount: 1)
        let files: ConfigurationTestFiles
        var access: Access { Access(LiveConfiguration(configuration), gates: PeerGates()) }

        init(capacityBytes: UInt64 = 1 << 30) throws {
            let clients = """
                  - {identity: mes, roles: [producer], streams: [], artifacts: [batch-files]}
                  - {identity: erp, roles: [consumer], streams: [], artifacts: [batch-files], origins: [enterprise, plant-a]}
                  - {identity: near, roles: [consumer], streams: [], artifacts: [batch-files]}
                """
            let main = ServicesBench.main.replacing("clients:\n", with: "clients:\n\(clients)\n")
            let peers = """
                peers:
                  - {id: plant-a, identity: plant-a-bsfg, authorized: true, artifacts: [batch-files]}
                  - {id: plant-b, identity: plant-b-bsfg, authorized: true}
                  - {id: plant-c, identity: plant-c-bsfg, authorized: false, artifacts: [batch-files]}

                """
            files = try ConfigurationTestFiles(
                main: main, peers: peers, cursors: ServicesBench.noCursors)
            configuration = try files.load()
            store = MemoryArtifactStore(capacityBytes: capacityBytes)
        }

        var service: ArtifactService {
            ArtifactService(access: access, zone: "enterprise", store: store, pool: pool)
        }

        func put(
            _ key: String, _ blob: [UInt8], by caller: Caller = .client("mes"), bucket: String = "batch-files",
            digest: String = "", _ codec: RPCCodec = .proto
        ) async -> Result<Bsfg_V1_PutObjectResponse, ServiceError> {
            var message = Bsfg_V1_PutObjectRequest()
            message.bucket = bucket
            message.key = key
            message.blob = .init(blob)
            message.digest = digest
            return await call(message, caller, codec) { service.put($0, $1) }
        }

        func get(
            _ key: String, zone: String = "", by caller: Caller = .client("erp"), digest: String = "",
            bucket: String = "batch-files", _ codec: RPCCodec = .proto
        ) async -> Result<Bsfg_V1_GetObjectResponse, ServiceError> {
            var message = Bsfg_V1_GetObjectRequest()
            message.zone = zone
            message.bucket = bucket
            message.key = key
            message.digest = digest
            return await call(message, caller, codec) { service.get($0, $1) }
        }

        private func call<Response: SwiftProtobuf.Message>(
            _ message: some SwiftProtobuf.Message, _ caller: Caller, _ codec: RPCCodec,
            _ body: (RPCRequest, @escaping @Sendable (RPCReply) -> Void) -> Void
        ) async -> Result<Response, ServiceError> {
            let encoding: WireEncoding = codec == .json ? .json : .proto
            let request = RPCRequest(
                procedure: "", caller: caller, codec: codec, body: WireCodec.encode(message, encoding),
                deadlineNanoseconds: .max, httpVersion: "2")
            let reply = await withCheckedContinuation { continuation in
                body(request) { continuation.resume(returning: $0) }
            }
            switch reply {
            case .failure(let error): return .failure(error)
            case .message(let bytes):
                return Result { () throws(ServiceError) in
                    try WireCodec.decodeResponse(Response.self, bytes, encoding)
                }
            }
        }
    }

    @Test(arguments: [RPCCodec.proto, .json])
    func `an object is read as it was put`(_ codec: RPCCodec) async throws {
        let bench = try Bench()
        let blob = [UInt8](repeating: 7, count: 1_000)
        let put = try await bench.put("a/b", blob, codec).get()
        let digest = "sha256:\(SHA256.hash(blob))"
        #expect(put.zone == "enterprise" && put.key == "a/b" && put.digest == digest)
        #expect(put.size == 1_000)
        let got = try await bench.get("a/b", codec).get()
        #expect([UInt8](got.blob) == blob && got.reference.digest == digest)
        #expect(got.reference.mediaType == "application/octet-stream")
        let same = try await bench.get("", digest: digest, bucket: "", codec).get()
        #expect(same.reference.key == "a/b")
        bench.pool.stop()
    }

    @Test func `what is wrong is told by its reason`() async throws {
        let bench = try Bench(capacityBytes: 20 << 20)
        let blob: [UInt8] = [1, 2, 3]
        func reason<Value>(_ result: Result<Value, ServiceError>) -> ErrorReason? {
            if case .failure(let error) = result { error.reason } else { nil }
        }
        let other = "sha256:" + String(repeating: "00", count: 32)
        #expect(await reason(bench.put("a", blob, digest: other)) == .digestMismatch)
        #expect(await reason(bench.put("a", blob, digest: "12")) == .malformedRequest)
        #expect(await reason(bench.put("../a", blob)) == .malformedRequest)
        #expect(await reason(bench.put("", blob)) == .missingField)
        _ = try await bench.put("a", blob).get()
        #expect(await reason(bench.put("a", [9])) == .artifactExists)
        #expect(await reason(bench.get("a", digest: other)) == .digestMismatch)
        #expect(await reason(bench.get("nothing")) == .artifactNotFound)
        let limit = ArtifactService.blobBytesMaximum
        #expect(await reason(bench.put("large", .init(repeating: 1, count: limit + 1))) == .tooLarge)
        _ = try await bench.put("limit", .init(repeating: 1, count: limit)).get()
        #expect(try await bench.get("limit").get().blob.count == limit)
        _ = try await bench.put("limit 2", .init(repeating: 2, count: limit)).get()
        let full = await bench.put("limit 3", .init(repeating: 3, count: limit))
        #expect(reason(full) == .artifactStoreFull)
        if case .failure(let error) = full { #expect(error.retryAfterMilliseconds > 0) }
        bench.pool.stop()
    }

    @Test("gateway decision 24: by its digest too bytes are not told to be here to whom they are not granted")
    func digestsTellNothing() async throws {
        let bench = try Bench()
        let blob: [UInt8] = [4, 5, 6]
        _ = try await bench.put("secret", blob).get()
        func refusal(_ caller: Caller, _ digest: String) async -> ServiceError? {
            let result = await bench.get("", by: caller, digest: digest, bucket: "")
            if case .failure(let error) = result { return error }
            return nil
        }
        let here = "sha256:\(SHA256.hash(blob))"
        let elsewhere = "sha256:" + String(repeating: "00", count: 32)
        #expect(await refusal(.client("erp"), here) == nil)
        for caller in [Caller.client("mes"), .peer("plant-b"), .peer("plant-c")] {
            let found = await refusal(caller, here)
            #expect(found?.reason == .artifactNotFound)
            #expect(found?.message == (await refusal(caller, elsewhere))?.message)
        }
        bench.pool.stop()
    }

    @Test("gateway decision 24: buckets are granted, by default none")
    func grants() async throws {
        let bench = try Bench()
        _ = try await bench.put("a", [1]).get()
        func putRefusal(_ caller: Caller, bucket: String = "batch-files") async -> ErrorReason? {
            if case .failure(let error) = await bench.put("x", [1], by: caller, bucket: bucket) {
                return error.reason
            }
            return nil
        }
        func getRefusal(_ caller: Caller, bucket: String = "batch-files") async -> ErrorReason? {
            if case .failure(let error) = await bench.get("a", by: caller, bucket: bucket) {
                return error.reason
            }
            return nil
        }
        #expect(await putRefusal(.client("mes")) == nil)
        #expect(await putRefusal(.operator, bucket: "any") == nil)
        #expect(await putRefusal(.client("mes"), bucket: "other") == .bucketNotGranted)
        #expect(await putRefusal(.client("both")) == .bucketNotGranted)
        #expect(await putRefusal(.client("erp")) == .identityNotAuthorised)
        #expect(await putRefusal(.peer("plant-a")) == .identityNotAuthorised)
        #expect(await getRefusal(.client("erp")) == nil)
        #expect(await getRefusal(.peer("plant-a")) == nil)
        #expect(await getRefusal(.operator) == nil)
        #expect(await getRefusal(.client("mes")) == .identityNotAuthorised)
        #expect(await getRefusal(.client("reader")) == .bucketNotGranted)
        #expect(await getRefusal(.peer("plant-b")) == .bucketNotGranted)
        #expect(await getRefusal(.peer("plant-c")) == .identityNotAuthorised)
        #expect(await getRefusal(.client("erp"), bucket: "other") == .bucketNotGranted)
        // Of another origin.
        let far = await bench.get("a", zone: "plant-a", by: .client("near"))
        if case .failure(let error) = far { #expect(error.reason == .originNotGranted) }
        bench.pool.stop()
    }

    @Test("gateway decision 24: what has not arrived yet is asked for again")
    func pending() async throws {
        let bench = try Bench()
        let content = ArtifactContent(digest: SHA256.hash([1]), size: 1, mediaType: "text/plain")
        let name = try #require(
            ArtifactName(zone: "plant-a", bucket: "batch-files", key: "late"))
        try bench.store.record(
            [ArtifactUse(name: name, content: content, offset: 0)],
            log: [UInt8](repeating: 1, count: 16), upTo: 1, isReceived: true)
        guard case .failure(let error) = await bench.get("late", zone: "plant-a") else {
            Issue.record("served before it came")
            return
        }
        #expect(error.reason == .artifactPending && error.retryAfterMilliseconds > 0)
        #expect(error.code == .unavailable && error.retryable)
        bench.pool.stop()
    }

    // MARK: - References

    private func reference(_ key: String, _ bytes: [UInt8], size: UInt64? = nil) -> FactSubmission.Artifact {
        var artifact = FactSubmission.Artifact()
        artifact.zone = "enterprise"
        artifact.bucket = "batch-files"
        artifact.key = key
        artifact.digest = "sha256:\(SHA256.hash(bytes))"
        artifact.size = size ?? UInt64(bytes.count)
        artifact.mediaType = "text/plain"
        return artifact
    }

    @Test("gateway decision 24: an append validates its references and pins them")
    func validation() async throws {
        let bench = try Bench()
        let check = ArtifactReferenceCheck(store: bench.store)
        _ = try await bench.put("a", [1, 2]).get()
        #expect(try check.hold([reference("nothing", [1])], .unchecked).isEmpty)
        let cases: [(FactSubmission.Artifact, ErrorReason)] = [
            (reference("nothing", [1]), .artifactNotFound), (reference("a", [9, 9]), .digestMismatch),
            (reference("a", [1, 2], size: 3), .digestMismatch),
        ]
        for (artifact, reason) in cases {
            let error = #expect(throws: ServiceError.self) {
                try check.hold([reference("a", [1, 2]), artifact], .required)
            }
            #expect(error?.reason == reason && error?.field == "fact.artifacts[1]")
        }
        var pins = try check.hold([reference("a", [1, 2])], .required)
        #expect(pins.count == 1)
        let rules = {
            ArtifactSweepRules(
                firstOffsets: [:], usedBefore: .max, unusedBefore: .max,
                generation: bench.store.beginSweep())
        }
        #expect(try bench.store.sweep(rules()).names == 0)
        pins = []
        #expect(try bench.store.sweep(rules()).names == 1)
        bench.pool.stop()
    }

    @Test("gateway decision 21: references are declared, never guessed from the object")
    func declared() throws {
        var submission = FactSubmission()
        submission.messageID = "m-1"
        submission.fromZone = "enterprise"
        submission.toZone = "plant-a"
        submission.producedAtUnixMilliseconds = 1
        submission.subject = "asset:site/T1"
        submission.predicate = "has_artifact"
        submission.body = .objectJSON(
            Array(#"{"bucket":"batch-files","key":"guessed","zone":"enterprise"}"#.utf8))
        func read() throws -> [String] {
            let encoded = try FactEncoder(limits: FactLimits(objectBytes: 1 << 20)).encode(submission)
            return encoded.storedRecord.withUnsafeBytes { MessageArtifacts.read($0).map(\.key) }
        }
        #expect(try read().isEmpty)
        submission.artifacts = [reference("first", [1]), reference("second", [2])]
        #expect(try read() == ["first", "second"])
        #expect([UInt8]([1, 2, 3]).withUnsafeBytes { MessageArtifacts.read($0).isEmpty })
    }
}
