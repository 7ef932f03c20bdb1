import Foundation
import RPC
import Testing

@testable import Gateway

/// CRLs as an authority writes them and as a node reads them.
@Suite struct RevocationTests {
    /// A directory with a CA file, its CRL's place and a data directory.
    private final class Place {
        let directory = NSTemporaryDirectory() + "revocation-\(UUID().uuidString)"
        let authority: CertificateAuthority
        let now = Int64(Date().timeIntervalSince1970)

        init(_ name: String = "revoking ca") throws {
            authority = try CertificateAuthority.make(name: name)
            try authority.write(directory: directory, force: true)
        }

        deinit { try? FileManager.default.removeItem(atPath: directory) }

        var crl: String { "\(directory)/ca.crl" }

        func leaf(_ identity: String = "plant-a-bsfg") throws -> X509Certificate {
            try authority.issue(CertificateRequest(identity: identity)).certificate
        }

        func put(_ list: RevocationList) throws {
            try CertificateFiles.write(list.pem, to: crl, mode: 0o644, force: true)
        }

        /// What a node finds, and what it warns about.
        func load(
            _ configured: RevocationConfiguration = RevocationConfiguration(), at seconds: Int64? = nil
        ) throws -> (anchors: TrustAnchors, files: RevocationFiles) {
            var files = RevocationFiles(dataDirectory: "\(directory)/data")
            let certificates = [authority.certificate]
            let problems = files.read(
                authorities: certificates, authorityFiles: ["\(directory)/ca.crt"], configured)
            if let problem = problems.first { throw problem }
            let lists = files.lists(authorities: certificates, configured, atSeconds: seconds ?? now)
            return (
                try TrustAnchors(certificates: certificates, names: ["ca.crt"], revocation: lists), files
            )
        }

        func refusal(
            _ leaf: X509Certificate, _ configured: RevocationConfiguration = RevocationConfiguration(),
            at seconds: Int64? = nil
        ) throws -> CertificateRefusal? {
            let anchors = try load(configured, at: seconds).anchors
            do throws(CertificateRefusal) {
                try anchors.verify(leaf, direction: .incoming, atSeconds: seconds ?? now)
                return nil
            } catch {
                return error
            }
        }
    }

    private static let required = RevocationConfiguration(isRequired: true)

    @Test func `a revoked certificate is refused in a sentence, the next one is not`() throws {
        let place = try Place()
        let (bad, good) = (try place.leaf(), try place.leaf())
        #expect(try place.refusal(bad) == nil)
        let first = try place.authority.revoke(serials: [bad.serial], previous: nil)
        try place.put(first)
        let refusal = try #require(try place.refusal(bad))
        #expect(refusal.kind == .revoked)
        #expect(refusal.sentence.contains("was revoked at ") && refusal.sentence.contains("CRL 0x1;"))
        #expect(try place.refusal(good) == nil)
        // Everything stays revoked in the lists that follow, and nothing twice.
        let second = try place.authority.revoke(
            serials: [good.serial.lowercased(), bad.serial], previous: first)
        #expect(second.number?.description == "0x2" && second.revokedCount == 2)
        #expect(second.revocation(of: bad) == first.revocation(of: bad))
        #expect(second.replaces(first) && !first.replaces(second))
    }

    @Test("gateway decision 39: a stale CRL goes on revoking, warns, and does not refuse the others")
    func aStaleListGoesOnRevoking() throws {
        let place = try Place()
        let (bad, good) = (try place.leaf(), try place.leaf())
        try place.put(try place.authority.revoke(serials: [bad.serial], previous: nil, days: 1))
        let later = place.now + 2 * 86_400
        #expect(try place.refusal(bad, at: later)?.kind == .revoked)
        #expect(try place.refusal(good, at: later) == nil)
        let warnings = try place.load(at: later).files.warnings
        #expect(warnings.count == 1 && warnings[0].contains("is stale since"), "\(warnings)")
        #expect(try place.load(at: later).files.staleWarnings == warnings)
        #expect(try place.load().files.warnings == [])
        // Only where it is asked for, a stale one refuses everybody.
        #expect(try place.refusal(good, Self.required, at: later)?.kind == .revocationUnknown)
        #expect(try place.refusal(good, Self.required) == nil)
    }

    @Test("gateway decision 39: a missing CRL warns where it is named, and refuses where it is required")
    func aMissingListWarns() throws {
        let place = try Place()
        let leaf = try place.leaf()
        #expect(try place.load().files.warnings == [], "nobody named one")
        let named = RevocationConfiguration(files: [place.crl])
        let warnings = try place.load(named).files.warnings
        #expect(warnings.count == 1 && warnings[0].contains("is missing"), "\(warnings)")
        #expect(try place.refusal(leaf, named) == nil)
        let refusal = try #require(try place.refusal(leaf, Self.required))
        #expect(refusal.kind == .revocationUnknown && refusal.sentence.contains("'crl: required'"))
    }

    @Test("gateway decision 39: an older CRL number never replaces a newer one, nor does its absence")
    func anOlderListNeverReplacesANewer() throws {
        let place = try Place()
        let (bad, other) = (try place.leaf(), try place.leaf())
        let first = try place.authority.revoke(serials: [other.serial], previous: nil)
        let second = try place.authority.revoke(serials: [bad.serial], previous: first)
        try place.put(second)
        let files = try place.load().files
        try files.kept.write(files.entries)
        #expect(try place.load().files.warnings == [])
        // As a node finds it after a restart: another copy of the file, or none.
        try place.put(first)
        #expect(try place.refusal(bad)?.kind == .revoked)
        let warnings = try place.load().files.warnings
        #expect(warnings.count == 1 && warnings[0].contains("is older than 0x2"), "\(warnings)")
        try FileManager.default.removeItem(atPath: place.crl)
        #expect(try place.refusal(bad)?.kind == .revoked)
        let third = try place.authority.revoke(serials: [], previous: second)
        try place.put(third)
        let now = try place.load().files
        #expect(now.entries.map(\.list.fingerprint) == [third.fingerprint])
    }

    @Test func `lists that come late to be kept take no newer one's place`() throws {
        let place = try Place()
        let first = try place.authority.revoke(serials: [], previous: nil)
        let second = try place.authority.revoke(serials: ["AB"], previous: first)
        try place.put(first)
        let late = try place.load().files
        try place.put(second)
        let files = try place.load().files
        try files.kept.write(files.entries)
        try late.kept.write(late.entries)
        #expect(files.kept.read(place.authority.certificate)?.fingerprint == second.fingerprint)
    }

    @Test func `a file with two lists of a CA is one with its newer one`() throws {
        let place = try Place()
        let bad = try place.leaf()
        let first = try place.authority.revoke(serials: [], previous: nil)
        let second = try place.authority.revoke(serials: [bad.serial], previous: first)
        for lists in [[first, second], [second, first]] {
            try CertificateFiles.write(lists.flatMap(\.pem), to: place.crl, mode: 0o644, force: true)
            #expect(try place.load().files.warnings == [])
            #expect(try place.refusal(bad)?.kind == .revoked)
        }
    }

    @Test func `CRL numbers are compared as numbers`() throws {
        let place = try Place()
        var list = try place.authority.revoke(serials: [], previous: nil)
        for _ in 2...16 { list = try place.authority.revoke(serials: [], previous: list) }
        #expect(list.number?.description == "0x10")
        let nine = try place.authority.revoke(serials: [], previous: nil)
        #expect(list.replaces(nine) && !nine.replaces(list))
    }

    @Test func `a CRL that is damaged or another CA's is an error, so that a reload keeps the one before`() throws {
        let place = try Place()
        let list = try place.authority.revoke(serials: [], previous: nil)
        try Data(list.pem.dropLast(40)).write(to: URL(fileURLWithPath: place.crl))
        #expect(throws: CertificateError.self) { try place.load() }
        try Data().write(to: URL(fileURLWithPath: place.crl))
        #expect(throws: CertificateError.self) { try place.load() }
        // Of the same name, and yet not its list.
        let namesake = try Place()
        try place.put(try namesake.authority.revoke(serials: [], previous: nil))
        let error = try #require(throws: CertificateError.self) { try place.load() }
        #expect(error.sentence.contains("is not signed by a CA of"))
    }

    @Test func `random damage of a CRL is refused and never crashes`() throws {
        let place = try Place()
        let list = try place.authority.revoke(serials: ["0A0B", "ff"], previous: nil)
        let pem = String(decoding: list.pem, as: UTF8.self)
        let base64 = pem.split(separator: "\n").filter { !$0.hasPrefix("-") }.joined()
        let der = [UInt8](try #require(Data(base64Encoded: base64)))
        #expect(try RevocationList.all(der).first?.revokedCount == 2)
        var damagedCount = 0
        for index in der.indices {
            var damaged = der
            damaged[index] ^= UInt8(1 << (index % 8))
            let read = (try? RevocationList.all(damaged))?.first
            if read?.isSigned(by: place.authority.certificate) != true { damagedCount += 1 }
            _ = try? RevocationList.all(Array(der[..<index]))
        }
        #expect(damagedCount == der.count)
    }

    @Test func `serials that are none are refused`() throws {
        let place = try Place()
        for serial in ["", "xyz", "12 34", String(repeating: "1", count: 41)] {
            #expect(throws: CertificateError.self) {
                try place.authority.revoke(serials: [serial], previous: nil)
            }
        }
    }
}
