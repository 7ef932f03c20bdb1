internal import Facts
internal import RPC

/// One thing that a peer has to refuse, tried on the live peer.
package struct Denial: Sendable, Codable, Equatable {
    package enum Verdict: String, Sendable, Codable {
        case refused
        /// It answered, or refused for a reason that says it would have answered.
        case allowed
        case notChecked = "not_checked"
    }

    package var name: String
    package var verdict: Verdict
    /// The reason that was read, or the TLS failure.
    package var reason: String
    package var sentence: String
    /// The refuser's own note of it.
    package var refusal: NodeRefusal?

    mutating func note(_ refusal: NodeRefusal, by refuser: String) {
        self.refusal = refusal
        sentence += "; \(refuser) noted \(refusal.text)"
    }
}

/// Asks a peer for what it must not give. Nothing that it tries would leave anything behind, were it allowed:
/// cursors are dry runs, and the append is empty.
package struct DenialProbe: Sendable {
    /// A certificate with its key, as PEM.
    package struct Certificate: Sendable {
        package var chain: [UInt8]
        package var key: [UInt8]

        package init(chain: [UInt8], key: [UInt8]) {
            self.chain = chain
            self.key = key
        }

        /// SHA-256 of the leaf, as who is shown it notes it; empty where there is none.
        var fingerprint: String {
            (try? X509Certificate.all(pem: chain, name: "the certificate").first)?
                .fingerprintHexadecimal ?? ""
        }
    }

    /// No stream of a configuration is called so.
    static let ungrantedStream = "bsfg.deny-test"

    /// Of a page with the one fact that it may have.
    private static let pageBytesMaximum = FactLimits.recordBytes + RPCPullSource.pageFrameBytes

    let link: PeerLink
    let configuration: NodeConfiguration
    /// Of somebody whom the peer does not list, by a CA that it trusts.
    let unlisted: Certificate?
    /// Where it is given, the refuser's own note of each refusal is read.
    let refuser: Refuser?
    /// What the peer really has and does not grant us; empty where its evidence is not given.
    /// Of those: what the peer says of itself now is tried whole, a file may say anything.
    private let triedMaximum: Int
    let withheld: [WithheldStream]

    /// - Parameter theirs: the peer's own evidence, by which it is known what it really has.
    package init(
        link: PeerLink, configuration: NodeConfiguration, unlisted: Certificate? = nil,
        refuser: Refuser? = nil, theirs: NodeEvidence? = nil, isLive: Bool = false
    ) {
        triedMaximum = isLive ? .max : WithheldStream.countMaximum
        withheld = theirs.map { WithheldStream.all(in: $0, from: configuration.zone) } ?? []
        self.link = link
        self.configuration = configuration
        self.unlisted = unlisted
        self.refuser = refuser
    }

    package func run() async -> [Denial] {
        var found: [Denial] = []
        do throws(RPCClientError) {
            let client = try link.client(answerBytesMaximum: Self.pageBytesMaximum)
            found.append(await stream(client))
            found.append(await origin(client))
            found.append(await append(client))
            found.append(await administration(client))
            for stream in withheld.prefix(triedMaximum) {
                found.append(await real(stream, client))
            }
            if withheld.count > triedMaximum {
                found.append(
                    Denial(
                        name: WithheldStream.namePrefix, verdict: .notChecked, reason: "",
                        sentence: "\(link.name) has more streams that it does not grant than the "
                            + "\(triedMaximum) that were tried; with --peer-admin all are"))
            }
            WithheldStream.weigh(&found)
            await client.close()
        } catch {
            found.append(
                Denial(
                    name: "grants", verdict: .notChecked, reason: "", sentence: error.description))
        }
        found.append(await handshake("no_certificate", Certificate(chain: [], key: [])))
        found.append(await wrongAuthority())
        if let unlisted {
            found.append(await unlistedCaller(unlisted))
        } else {
            found.append(
                Denial(
                    name: "unlisted_identity", verdict: .notChecked, reason: "",
                    sentence: "give a certificate of somebody whom the peer does not list: "
                        + "--unlisted-cert and --unlisted-key"))
        }
        return found
    }

    // MARK: - With our own certificate

    private func stream(_ client: RPCClient) async -> Denial {
        await refusal(
            "ungranted_stream", client, [.streamNotGranted],
            cursor(Self.ungrantedStream, link.name))
    }

    /// A zone is never given its own facts back, so its name is always an origin that is not granted.
    private func origin(_ client: RPCClient) async -> Denial {
        let name = "ungranted_origin"
        let granted: [Bsfg_V1_StreamInfo]
        do throws(RPCClientError) {
            let bytes = try await client.call(
                Procedure.listStreams.rawValue,
                WireCodec.encode(Bsfg_V1_ListStreamsRequest(), .proto),
                answerBytesMaximum: RPCClient.smallAnswerBytes)
            granted = try DenialProbe.decode(bytes)
        } catch {
            return Denial(
                name: name, verdict: .notChecked, reason: error.failure?.reason ?? "",
                sentence: error.description)
        }
        guard let stream = granted.first?.stream else {
            return Denial(
                name: name, verdict: .notChecked, reason: "",
                sentence: "the peer grants us no stream, so no origin of one can be refused")
        }
        return await refusal(name, client, [.originNotGranted], cursor(stream, configuration.zone))
    }

    /// A stream that exists and is not granted: neither a cursor on it nor a fact of it may be had. That one which
    /// nobody has is refused says little of those that are there.
    private func real(_ stream: WithheldStream, _ client: RPCClient) async -> Denial {
        let expected: [ErrorReason] = [.streamNotGranted, .originNotGranted]
        let opened = await refusal(stream.name, client, expected, cursor(stream.stream, stream.origin))
        guard opened.verdict == .refused else { return opened }
        var request = Bsfg_V1_FetchFactsRequest()
        request.consumerName = "\(configuration.zone)/\(stream.stream)/\(stream.origin)"
        request.fromOffset = 0
        request.limit = 1
        // Who has no cursor there is told so before anything else. What it serves it serves however large it is.
        let fetched = await refusal(
            stream.name, client, expected + [.consumerNotFound, .notTheOwner],
            (.fetchFacts, WireCodec.encode(request, .proto)), answerBytesMaximum: Self.pageBytesMaximum)
        return fetched.verdict == .refused ? opened : fetched
    }

    private func append(_ client: RPCClient) async -> Denial {
        await refusal(
            "append_as_peer", client, [.identityNotAuthorised],
            (.appendFact, WireCodec.encode(Bsfg_V1_AppendFactRequest(), .proto)))
    }

    private func administration(_ client: RPCClient) async -> Denial {
        await refusal("administration", client, [.unknownMethod, .identityNotAuthorised], (.status, []))
    }

    private func cursor(_ stream: String, _ origin: String) -> (Procedure, [UInt8]) {
        var request = Bsfg_V1_OpenCursorRequest()
        request.consumerName = "\(configuration.zone)/\(stream)/\(origin)"
        request.stream = stream
        request.originZone = origin
        request.initMode = "start_now"
        request.dryRun = true
        return (.openCursor, WireCodec.encode(request, .proto))
    }

    private func refusal(
        _ name: String, _ client: RPCClient, _ expected: [ErrorReason],
        _ call: (procedure: Procedure, body: [UInt8]), answerBytesMaximum: Int = RPCClient.smallAnswerBytes
    ) async -> Denial {
        let mark = await refuser?.mark()
        do throws(RPCClientError) {
            _ = try await client.call(
                call.procedure.rawValue, call.body, answerBytesMaximum: answerBytesMaximum)
            return Denial(
                name: name, verdict: .allowed, reason: "",
                sentence: "\(call.procedure.method) was answered and had to be refused")
        } catch {
            guard let failure = error.failure else {
                return Denial(
                    name: name, verdict: .notChecked, reason: error.transportKind?.rawValue ?? "",
                    sentence: error.description)
            }
            let reason = failure.reason ?? failure.code
            let isExpected = expected.first { $0.rawValue.utf8.elementsEqual(reason.utf8) }
            var denial = Denial(name: name, failure: failure, isExpected: isExpected != nil)
            // What is not there at all is nobody's denial.
            if let isExpected, isExpected.code == .permissionDenied, let refuser, let mark {
                let noted = await refuser.refusal(
                    after: mark, fingerprint: link.fingerprint, reason: isExpected)
                if let noted { denial.note(noted, by: link.name) }
            }
            return denial
        }
    }

    private static func decode(_ bytes: [UInt8]) throws(RPCClientError) -> [Bsfg_V1_StreamInfo] {
        do throws(ServiceError) {
            return try WireCodec.decodeResponse(Bsfg_V1_ListStreamsResponse.self, bytes, .proto).streams
        } catch {
            throw .transport(kind: .malformed, sentence: error.message)
        }
    }

    // MARK: - With other certificates

    /// Our own name, issued by a CA that was made for this test and that nobody trusts.
    private func wrongAuthority() async -> Denial {
        let name = "wrong_authority"
        let certificate: Certificate
        do throws(CertificateError) {
            let authority = try CertificateAuthority.make(name: "bsfg deny test", days: 1)
            let issued = try authority.issue(
                CertificateRequest(identity: configuration.identity, days: 1))
            certificate = Certificate(chain: issued.certificate.pem, key: try issued.key.pem())
        } catch {
            return Denial(
                name: name, verdict: .notChecked, reason: "", sentence: error.sentence)
        }
        return await handshake(name, certificate)
    }
}
