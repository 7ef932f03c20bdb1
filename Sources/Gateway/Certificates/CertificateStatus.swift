internal import Glibc
internal import RPC

/// One certificate as `bsfg cert status` shows it.
package struct CertificateStatus: Sendable {
    /// With fewer days left a certificate is warned about, and no handoff is accepted (spec §19.77).
    package static let daysLeftMinimum: Int64 = 30

    /// `node`, `issuer` (beside the node's leaf), `anchor` or `crl`; of a file alone `leaf`, `ca` or `crl`.
    package let role: String
    package let file: String
    package let subject: String
    package let issuer: String
    /// As `dns:plant-a-bsfg`; addresses as `ip:192.0.2.1`.
    package let names: [String]
    package let serial: String
    package let fingerprint: String
    package let key: String
    package let usages: [String]
    /// Seconds since 1970.
    package let notBefore: Int64
    package let notAfter: Int64
    package let daysLeft: Int64

    init(_ certificate: X509Certificate, role: String, file: String, now: Int64) {
        self.role = role
        self.file = file
        subject = certificate.subject
        issuer = certificate.issuer
        let alternatives = ((try? certificate.names()) ?? []).map(\.description)
        names = alternatives + ((try? certificate.addresses()) ?? []).map { "ip:\($0)" }
        serial = certificate.serial
        fingerprint = certificate.fingerprintHexadecimal
        key = certificate.keyKind.description
        usages = certificate.extendedKeyUsages
        notBefore = certificate.notBefore
        notAfter = certificate.notAfter
        daysLeft = Self.days(certificate.notAfter - now)
    }

    /// A CRL: it is of its CA, and what it has in place of an end is when the next one comes.
    init(_ list: RevocationList, file: String, now: Int64) {
        role = "crl"
        self.file = file
        subject = "\(list.revokedCount) revoked"
        issuer = list.issuer
        names = []
        serial = list.number?.description ?? "none"
        fingerprint = hexadecimal(list.fingerprint)
        key = "CRL"
        usages = []
        notBefore = list.thisUpdate
        // The last second that four digits of a year can write.
        notAfter = list.nextUpdate ?? 253_402_300_799
        daysLeft = Self.days(notAfter - now)
    }

    private static func days(_ seconds: Int64) -> Int64 {
        seconds >= 0 ? seconds / 86_400 : (seconds - 86_399) / 86_400
    }
}

/// All certificates of a configuration and what is wrong with them.
package struct CertificateReport: Sendable {
    package let certificates: [CertificateStatus]
    package let warnings: [String]

    /// Reads what it can: one unreadable file is a warning, not the end of the report.
    package static func make(
        _ configuration: NodeConfiguration, atSeconds now: Int64 = Int64(time(nil))
    ) -> CertificateReport {
        var certificates: [CertificateStatus] = []
        var warnings: [String] = []
        var unreadable: [String: String] = [:]
        var leaf: X509Certificate?
        func read(_ file: String) -> [X509Certificate] {
            do {
                return try X509Certificate.all(file: file)
            } catch {
                unreadable[file] = error.sentence
                return []
            }
        }
        let own = configuration.tls.certificateFile
        for (index, certificate) in read(own).enumerated() {
            if index == 0 { leaf = certificate }
            certificates.append(
                CertificateStatus(
                    certificate, role: index == 0 ? "node" : "issuer", file: own, now: now))
        }
        var trusts: [TrustAnchors] = []
        for file in NodeTrust.authorityFiles(configuration) {
            let found = read(file)
            certificates += found.map { CertificateStatus($0, role: "anchor", file: file, now: now) }
            guard !found.isEmpty else { continue }
            do {
                trusts.append(try TrustAnchors(certificates: found, names: [file]))
            } catch {
                unreadable[file] = error.sentence
            }
        }
        if let leaf, !trusts.isEmpty {
            do {
                let check = OwnCertificateCheck(configuration: configuration, leaf: leaf, now: now)
                warnings += check.warnings(
                    anchors: try TrustAnchors(union: trusts, names: configuration.tls.authorityFiles))
            } catch {
                warnings.append(error.sentence)
            }
        }
        do {
            let credentials = try NodeCredentials.load(configuration, atSeconds: now)
            certificates += credentials.revocation.entries.map {
                CertificateStatus($0.list, file: $0.file, now: now)
            }
            warnings += credentials.warnings.filter { !warnings.contains($0) }
        } catch {
            for problem in error.problems {
                unreadable[problem.file] = nil
                guard !warnings.contains("\(problem.file) \(problem.sentence)") else { continue }
                warnings.append("\(problem.file): \(problem.sentence)")
            }
            if let command = error.command {
                warnings.append("make what is missing with: \(command)")
            }
        }
        warnings += unreadable.sorted { $0.key < $1.key }.map(\.value)
        return CertificateReport(certificates: certificates, warnings: warnings)
    }
}
