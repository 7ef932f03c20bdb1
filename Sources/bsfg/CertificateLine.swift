internal import Gateway
internal import Glibc
internal import RPC

/// A node's own certificate, as `bsfg status` shows it.
struct CertificateLine {
    let certificate: Bsfg_Admin_V1_NodeCertificate
    var now = Int64(time(nil))

    private var notBefore: Int64 { certificate.notBeforeUnixMs / 1_000 }
    private var notAfter: Int64 { certificate.notAfterUnixMs / 1_000 }
    private var daysLeft: Int64 { (notAfter - now) / 86_400 }

    /// Whether the others refuse it, or will when it has had its time and its successor is not taken.
    var isWrong: Bool {
        isOutOfDate || !certificate.refusedFiles.isEmpty || !certificate.problem.isEmpty
    }

    private var isOutOfDate: Bool { now < notBefore || now >= notAfter }

    var lines: [String] {
        var found = ["certificate \(certificate.serial): \(validity)"]
        if !certificate.problem.isEmpty && !isOutOfDate {
            found.append("ALARM certificate: others refuse it: \(certificate.problem)")
        }
        if !certificate.refusedFiles.isEmpty {
            found.append(
                "ALARM certificate: not all that lies in its files is in force: \(certificate.refusedFiles)")
        }
        for list in certificate.staleCrls {
            found.append("CRL: that of \(list) is stale; put the CA's current one in place")
        }
        return found
    }

    private var validity: String {
        let advice = "; see bsfg cert status"
        if now < notBefore { return "not valid before \(UTCText.text(notBefore)), others refuse it\(advice)" }
        if now >= notAfter { return "EXPIRED at \(UTCText.text(notAfter)), others refuse it\(advice)" }
        return "until \(UTCText.text(notAfter)), \(daysLeft) days"
            + (daysLeft < CertificateStatus.daysLeftMinimum ? advice : "")
    }

    var json: JSONOutput {
        .object([
            ("subject", .text(certificate.subject)),
            ("serial", .text(certificate.serial)),
            ("not_before", .text(UTCText.text(notBefore))),
            ("not_after", .text(UTCText.text(notAfter))),
            ("days_left", .integer(daysLeft)),
            ("problem", certificate.problem.isEmpty ? .null : .text(certificate.problem)),
            ("refused_files", certificate.refusedFiles.isEmpty ? .null : .text(certificate.refusedFiles)),
            ("stale_crls", .list(certificate.staleCrls.map { .text($0) })),
        ])
    }
}
