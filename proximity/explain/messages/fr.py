"""French: what is said to a person about themselves."""

SENTENCES = {
    "day": "Il s'agit du {day} ; les heures sont celles de {zone}.",
    "was": "Vous étiez à {place} de {start} à {end}.",
    "was.open": "Vous êtes à {place} depuis {start}.",
    "passed": "Vous passiez devant {place} à {start}.",
    "never_was": "Ce qui semblait être une visite à {place} n'en était pas une.",
    "sent": "À {time}, nous avons décidé de vous envoyer « {text} », parce que {cause}.",
    "sent.untold": "À {time}, nous avons décidé de vous envoyer l'offre « {campaign} », parce que "
    "{cause}.",
    "deferred": "Nous retenons l'offre « {campaign} » jusqu'à {until}.",
    "not_sent": "Nous ne vous avons pas envoyé l'offre « {campaign} ».",
    "agreed": "Vous aviez donné votre accord le {since}.",
    "cause.enter": "vous veniez d'arriver à {place}",
    "cause.dwell": "vous passiez du temps à {place}",
    "cause.exit": "vous veniez de quitter {place}",
    "cause.pass": "vous passiez devant {place}",
    "cause.event": "vous veniez de faire quelque chose qui s'y rapporte",
    "cause.manual": "le message s'adressait à toutes les personnes concernées",
    "cause.other": "le moment s'y prêtait",
    "delivery.accepted": "Le message a été remis à {time}.",
    "delivery.retry": "Le message n'a pas encore pu être remis ; nous réessayons.",
    "delivery.failed": "Le message n'a pas pu être remis.",
    "delivery.dead_endpoint": "Le message n'a pas pu être remis : votre appareil n'accepte plus "
    "de messages.",
    "delivery.expired": "Le message n'a pas été remis à temps et n'est plus valable.",
    "delivery.suppressed": "Nous avons retiré le message avant qu'il ne soit remis.",
    "reason.stale": "Quand la décision a pu être prise, le bon moment était passé.",
    "reason.inactive": "Cette offre n'était pas en cours à ce moment-là.",
    "reason.place_closed": "Le lieu était fermé à ce moment-là.",
    "reason.no_consent": "Vous n'aviez pas accepté de recevoir ce type de message par ce moyen.",
    "reason.no_location_consent": "Vous ne voulez pas que votre position serve à cela.",
    "reason.age": "Nous n'envoyons pas d'offres selon la position aux personnes qui n'ont pas "
    "l'âge requis, ni quand l'âge n'est pas connu.",
    "reason.objection": "Vous nous avez demandé de ne rien vous envoyer.",
    "reason.preference": "Vous nous avez dit ne pas vouloir de messages à ce sujet, à cet endroit "
    "ou à ce moment.",
    "reason.unreachable": "Nous n'avions aucune adresse où vous joindre.",
    "reason.segment": "Elle s'adresse à un groupe de personnes dont vous ne faites pas partie.",
    "reason.confidence": "Nous n'étions pas assez sûrs que vous étiez là.",
    "reason.context": "Elle ne convenait pas à ce que vous faisiez là.",
    "reason.affinity": "Vous choisissez d'habitude autre chose : elle ne vous intéresserait guère.",
    "reason.below_threshold": "Elle ne valait pas la peine de vous déranger.",
    "reason.ask": "Nous vous avons déjà posé cette question, ou il est trop tôt pour la poser.",
    "reason.outside_hours": "Cette offre n'est pas faite à cette heure-là.",
    "reason.offer_window": "Cette offre n'est pas faite à ce moment de la journée.",
    "reason.capped": "Vous aviez déjà reçu autant de messages que nous en envoyons dans ce délai.",
    "reason.cooldown": "Vous aviez reçu cette offre peu de temps auparavant.",
    "reason.quiet_hours": "C'était une heure à laquelle vous souhaitez être tranquille.",
    "reason.no_content": "Nous n'avions aucun texte que nous aurions pu vous montrer.",
    "reason.out_of_stock": "Il n'en restait plus.",
    "reason.outranked": "Une autre offre vous convenait mieux à ce moment-là.",
    "reason.fault": "Une erreur de notre part l'a empêché.",
    "reason.expired": "Il était trop tard.",
    "reason.attempts": "Nous avons essayé plusieurs fois.",
    "reason.other": "Elle ne convenait pas.",
    "reason.stale.detail": "Le retard était de {age_s} ; {max_age_s} au plus sont admis.",
    "reason.place_closed.detail": "Il était {local} sur place.",
    "reason.outside_hours.detail": "Il était {local} sur place.",
    "reason.capped.detail": "Vous en aviez reçu {sent} ; nous en envoyons {count} au plus en "
    "{window_s}.",
    "reason.cooldown.detail": "C'était à {last} ; nous attendons au moins {cooldown_s}.",
    "reason.quiet_hours.detail": "Il était {local} là où vous étiez.",
    "unmet.enter": "L'offre « {campaign} » est pour les personnes qui arrivent.",
    "unmet.dwell": "L'offre « {campaign} » est pour les personnes qui restent plus longtemps.",
    "unmet.dwell_s": "L'offre « {campaign} » est pour les personnes qui restent {dwell_s}.",
    "unmet.exit": "L'offre « {campaign} » est pour les personnes qui s'en vont.",
    "unmet.pass": "L'offre « {campaign} » est pour les personnes qui passent devant.",
    "unmet.event": "L'offre « {campaign} » attend quelque chose que vous n'avez pas fait là.",
    "unmet.manual": "L'offre « {campaign} » est envoyée à la main, et ne l'a pas été.",
    "unmet.late": "Nous avons appris votre visite trop tard pour l'offre « {campaign} ».",
    "unmet.waited": "Nous avons appris votre visite trop tard pour l'offre « {campaign} ».",
    "unmet.undecided": "Rien n'est encore décidé au sujet de l'offre « {campaign} », ou elle "
    "n'était pas en cours.",
    "unwatched": "Il n'y avait pas d'offre pour {place}.",
    "near.outside": "À {time}, vous étiez à l'extérieur de {place}, à {distance_m} environ de son "
    "bord ; votre position était connue à {accuracy_m} près.",
    "near.unsure": "À {time}, vous étiez peut-être à {place}, mais votre position n'était connue "
    "qu'à {accuracy_m} près.",
    "near.once": "À {time}, vous sembliez être à {place}, mais la position suivante ne l'a pas "
    "confirmé.",
    "near.outside.bare": "À {time}, vous étiez à l'extérieur de {place}, à {distance_m} environ "
    "de son bord.",
    "near.unsure.bare": "À {time}, vous étiez peut-être à {place}, mais votre position n'était "
    "pas assez bien connue.",
    "near.jump": "À {time}, une position se trouvait à {place}, mais si loin de votre trajet "
    "qu'elle n'a pas compté.",
    "near.level": "À {time}, vous étiez au-dessus ou au-dessous de {place}, pas dedans.",
    "near.not_valid": "À {time}, vous étiez à {place}, mais rien n'y était prévu à ce moment-là.",
    "near.driving": "À {time}, vous passiez en véhicule devant {place}, qui s'adresse aux piétons.",
    "near.too_quiet": "À {time}, vous n'étiez pas assez près de {place} : le signal était faible.",
    "near.too_few": "À {time}, votre passage à {place} a été trop bref pour compter.",
    "near.elsewhere": "À {time}, vous étiez plus près d'un autre lieu que de {place}.",
    "near.quarantined": "À {time}, un signal est venu de {place} auquel nous ne nous fions pas.",
    "nothing": "Il ne s'est rien passé : nous n'avons connaissance d'aucune visite.",
    "nothing.place": "Il ne s'est rien passé : nous n'avons connaissance d'aucune visite à "
    "{place}.",
    "unconsented": "Vous n'aviez pas accepté que nous traitions votre position : rien de ce que "
    "votre appareil a envoyé n'a été gardé.",
    "unknown": "Nous ne savons rien de cet appareil : il ne nous a jamais rien envoyé que nous "
    "puissions garder.",
    "late": "Une partie de ce que votre appareil a envoyé est arrivée trop tard pour compter.",
    "future": "L'horloge de votre appareil avance : ce qu'il a envoyé n'a pas toujours compté.",
    "mock": "Votre appareil a dit de ses positions qu'elles étaient inventées ; elles n'ont pas "
    "compté.",
    "jumps": "Votre appareil a donné des positions entre lesquelles personne ne peut se déplacer ; "
    "elles n'ont pas compté.",
    "not_since": "Les dernières nouvelles de votre appareil datent de {newest_at}.",
    "not_kept": "Nous n'avons plus, ou n'avons jamais eu, de trace de votre appareil à ce "
    "moment-là : les positions ne sont gardées que peu de temps, et celles qui arrivent trop tard "
    "ne comptent pas.",
    "far": "Votre appareil n'était près d'aucun lieu que nous connaissons.",
    "rights": "Vous pouvez changer ou retirer votre accord à tout moment.",
}
